"""AgentSkill: a folder of text that agents may look things up in, once somebody reviewed it."""

from pydantic import ConfigDict, Field

from anchorhold.api.base import Digest, Type, list_map, rule, rules

# What a skill may hold at most: as an object, and as ConfigMaps of the runs that read it, it must
# fit into etcd. To count bytes instead of characters costs more than a rule of a CRD may.
MAX_FILES = 32
MAX_FILE_CHARACTERS = 131_072
MAX_CHARACTERS = 524_288
# Folders in lower case, so that none differs from another in case only; no segment begins with a
# dot or a dash, so that none is '..', hidden, or taken for an option.
PATH_PATTERN = "^([a-z0-9_][a-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*$"
# Text: no control characters but tab, line feed and carriage return.
TEXT_PATTERN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
LINE_PATTERN = r"^[^\x00-\x20\x7f-\x9f][^\x00-\x1f\x7f-\x9f\x{2028}\x{2029}]*$"

FILES_RULES = rules(
    rule("self.exists(f, f.path == 'SKILL.md')", "must have a file 'SKILL.md' at the top"),
    rule(
        "self.all(f, self.exists_one(g, g.path.lowerAscii() == f.path.lowerAscii()))",
        "must not have two paths that differ in case only",
    ),
    rule(
        "!self.exists(f, self.exists(g, "
        "g.path.lowerAscii().startsWith(f.path.lowerAscii() + '/')))",
        "must not have a path that is the folder of another",
    ),
    rule(
        f"self.map(f, size(f.content)).sum() <= {MAX_CHARACTERS}",
        f"must have at most {MAX_CHARACTERS} characters together",
    ),
)


class SkillFile(Type):
    """One file of a skill."""

    path: str = Field(max_length=128, pattern=PATH_PATTERN)
    """Where it lies in the skill's folder, for instance 'scripts/extract.py'."""
    content: str = Field(max_length=MAX_FILE_CHARACTERS, pattern=TEXT_PATTERN)
    """Its text."""


class AgentSkillSpec(Type):
    """What a skill is. It cannot be changed: another content is another digest."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self == oldSelf",
                "cannot be changed: delete the AgentSkill and create it again, for a new review",
            )
        )
    )

    description: str = Field(max_length=1_024, pattern=LINE_PATTERN)
    """What it is for, in one line: an agent chooses by it."""
    files: tuple[SkillFile, ...] = Field(
        min_length=1, max_length=MAX_FILES, json_schema_extra={**list_map("path"), **FILES_RULES}
    )
    """Its files; `SKILL.md` is what an agent reads first."""
    digest: Digest
    """'sha256:' over `files`, as `kubectl anchorhold pack` computes it. Never believed."""


class AgentSkill(Type):
    """Text and scripts for agents, which runs get read-only if their policy lists the digest."""

    spec: AgentSkillSpec
    """What it holds."""
