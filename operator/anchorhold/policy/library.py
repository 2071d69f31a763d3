"""Which skills a run gets: reviewed ones, that hold what every policy says they hold."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import ValidationError

from anchorhold import names
from anchorhold.api.base import first_fault
from anchorhold.api.run import AgentRunSpec
from anchorhold.api.skill import AgentSkillSpec
from anchorhold.api.status import Reason
from anchorhold.policy import digest
from anchorhold.policy.grant import BoundPolicy, GrantedSkill, Refusal

# AgentSkills by name, each with why it is given to nobody if that is so; and those of one run.
Known: TypeAlias = Mapping[str, GrantedSkill | Refusal]
Given: TypeAlias = tuple[GrantedSkill, ...]
# All skills of a run are one ConfigMap, of which 1 MiB is what Kubernetes takes.
MAX_BYTES = 917_504


def read(document: Mapping[str, Any]) -> GrantedSkill | Refusal:
    """An AgentSkill as it may be granted. Its digest is computed here: it is not to be believed."""
    metadata = document["metadata"]
    name, reviewers = metadata["name"], metadata.get("annotations") or {}
    try:
        spec = AgentSkillSpec.parse(document["spec"])
    except ValidationError as error:
        field, fault = first_fault(error)
        return refusal(name, f"cannot be read by this version: `{field}`: {fault}")
    files = {file.path: file.content for file in spec.files}
    found = digest.of_texts(files)
    if not reviewers.get(names.REVIEWED_BY_ANNOTATION):
        return refusal(name, "has no reviewer on record: a skill reviewer must create it again")
    if found != spec.digest:
        return refusal(name, f"has the `digest` '{spec.digest}', and its files have '{found}'")
    return GrantedSkill(name, found, spec.description, files)


def refusal(name: str, sentence: str) -> Refusal:
    """Why a skill is given to nobody."""
    return Refusal(Reason.POLICY_REFUSED, f"AgentSkill '{name}' {sentence}")


def given(asked: AgentRunSpec, policies: Sequence[BoundPolicy], known: Known) -> Given | Refusal:
    """The skills that a run names. That the policies list the names was checked before."""
    found: list[GrantedSkill] = []
    for item in asked.skills:
        sentence = f"`skills['{item.name}']` names an AgentSkill that does not exist"
        skill = known.get(item.name, Refusal(Reason.INPUT_MISSING, sentence))
        if isinstance(skill, Refusal):
            return skill
        found.append(skill)
    objection = changed({skill.name: skill.digest for skill in found}, policies) or oversize(found)
    return tuple(found) if objection is None else Refusal(Reason.POLICY_REFUSED, objection)


def changed(digests: Mapping[str, str], policies: Sequence[BoundPolicy]) -> str | None:
    """The first skill that some policy lists with another digest."""
    for policy in policies:
        for listed in policy.spec.skills:
            found = digests.get(listed.name, listed.digest)
            if found != listed.digest:
                return (
                    f"`skills['{listed.name}']` with the digest '{found}' must have the digest "
                    f"'{listed.digest}' (AgentPolicy '{policy.name}')"
                )
    return None


def oversize(skills: Sequence[GrantedSkill]) -> str | None:
    """More than one run can be given."""
    texts = (text for skill in skills for text in skill.files.values())
    total = sum(len(text.encode()) for text in texts)
    if total <= MAX_BYTES:
        return None
    return f"`skills` with '{total}' bytes together must have at most '{MAX_BYTES}'"
