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
    texts = {f"{number:03}": text for number, text in enumerate(folder(grant).values())}
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**metadata.child(grant.request), "name": config_map_name(grant)},
        "immutable": True,
        "data": texts,
    }
    return [manifest] if texts else []


def volumes(grant: Grant) -> list[metadata.Manifest]:
    """The folder as a volume. A key can't hold a slash, so paths are the Pod's to say."""
    items = [{"key": f"{number:03}", "path": path} for number, path in enumerate(folder(grant))]
    source = {"name": config_map_name(grant), "items": items, "optional": False}
    return [{"name": "skills", "configMap": source}] if items else []


def digests(grant: Grant) -> dict[str, str]:
    """What the folder must hold, by where it is mounted; nothing if there is none."""
    files = folder(grant)
    return {names.SKILLS_DIRECTORY: digest.of_texts(files)} if files else {}


def config_map_name(grant: Grant) -> str:
    """Named after its content, so that a grant with other skills needs not that of an older one."""
    known = digest.of_texts(folder(grant)).removeprefix("sha256:")
    child = names.child_name(grant.request.name, grant.request.uid)
    return f"{child}-{known[: names.UID_CHARACTERS]}"
