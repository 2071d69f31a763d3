"""The folder `/skills`: an index, and what each skill holds, from a ConfigMap of the run."""

from anchorhold import names
from anchorhold.cell import metadata
from anchorhold.policy import digest
from anchorhold.policy.grant import Grant

INDEX = "# Skills\n\nRead a skill's SKILL.md before a task that it is for.\n\n"


def folder(grant: Grant) -> dict[str, str]:
    """What a cell finds below `/skills`, by path; nothing if it was granted no skill."""
    if not grant.skills:
        return {}
    lines = (f"- [{s.name}]({s.name}/SKILL.md): {s.description}\n" for s in grant.skills)
    files = {f"{s.name}/{path}": text for s in grant.skills for path, text in s.files.items()}
    return {names.SKILLS_INDEX: INDEX + "".join(lines), **files}


def config_maps(grant: Grant) -> list[metadata.Manifest]:
    """The ConfigMap that carries the folder, immutable; none if there is no skill."""
    files = folder(grant)
    child = metadata.child(grant.request)
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**child, "name": config_map_name(grant)},
        "immutable": True,
        "data": {key(number): text for number, text in enumerate(files.values())},
    }
    return [manifest] if files else []


def volumes(grant: Grant) -> list[metadata.Manifest]:
    """The folder as a volume. A key can't hold a slash, so paths are the Pod's to say."""
    files = folder(grant)
    source = {
        "name": config_map_name(grant),
        "items": [{"key": key(number), "path": path} for number, path in enumerate(files)],
        "optional": False,
    }
    return [{"name": "skills", "configMap": source}] if files else []


def config_map_name(grant: Grant) -> str:
    """Named after its content, so that a grant with other skills needs not that of an older one."""
    known = digest.of_texts(folder(grant)).removeprefix("sha256:")
    child = names.child_name(grant.request.name, grant.request.uid)
    return f"{child}-{known[: names.UID_CHARACTERS]}"


def key(number: int) -> str:
    """The key of a file, by its place in the folder."""
    return f"{number:03}"
