"""Skills on the real node: what a run is given of them, and everything that keeps them out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agents import Agents, changed_policy, condition
from anchorhold import names
from anchorhold.cli import packing
from anchorhold.policy import digest
from attempts import Attempts
from bed.installation import POLICIES
from bed.kube import Document, Kubectl, RefusedError, wait_for
from damage import removed
from onenode.settings import NODE_NAME
from tenants import Tenants, wide_policy

TENANT = "team-skills"
SHIPPED = Path(__file__).parents[2] / "skills"
REVIEWER, WRITER = "reviewer-of-skills", "writer-of-skills"
READ_ONLY = "Read-only file system"
LIES = "sha256:" + "0" * 64


def listed(*documents: Document) -> Document:
    """What a policy says that allows these skills as they are."""
    found = [(d["metadata"]["name"], d["spec"]["digest"]) for d in documents]
    return {"skills": [{"name": name, "digest": known} for name, known in found]}


def asked(*documents: Document) -> list[Document]:
    """What a run says that names these skills."""
    return [{"name": document["metadata"]["name"]} for document in documents]


def small(name: str, text: str = "# Small\n", **spec: Any) -> Document:  # noqa: ANN401
    """A skill of one file."""
    files = {"SKILL.md": text}
    return {
        "apiVersion": names.API_VERSION,
        "kind": "AgentSkill",
        "metadata": {"name": name, "namespace": POLICIES},
        "spec": {
            "description": "Is small.",
            "files": [{"path": path, "content": content} for path, content in files.items()],
            "digest": digest.of_texts(files),
            **spec,
        },
    }


def allowed(kubectl: Kubectl, user: str, role: str) -> None:
    """Bind a user to a Role beside the policies."""
    name, rbac = f"{role}-{user}", "rbac.authorization.k8s.io"
    kubectl.apply(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": POLICIES},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": role},
            "subjects": [{"kind": "User", "name": user}],
        }
    )


@dataclass
class Library:
    """The skills, and the people who write and review them."""

    admin: Kubectl
    reviewer: Kubectl
    writer: Kubectl

    def add(self, document: Document, by: Kubectl | None = None) -> Document:
        """Create a skill in place of the one that has its name. Raises RefusedError."""
        self.admin.delete("agentskill", document["metadata"]["name"], POLICIES)
        return (by or self.reviewer).create(document)

    def refusal(self, document: Document, by: Kubectl | None = None) -> str:
        """What the API server says to a skill; nothing if it takes it."""
        try:
            (by or self.reviewer).create(document, "--dry-run=server")
        except RefusedError as refusal:
            return str(refusal)
        return ""


@pytest.fixture(scope="module")
def library(kubectl: Kubectl) -> Iterator[Library]:
    """A reviewer as the chart makes one, and somebody who may create skills and review none."""
    role = "skill-writer"
    kubectl.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": role, "namespace": POLICIES},
            "rules": [
                {"apiGroups": [names.GROUP], "resources": ["agentskills"], "verbs": ["create"]}
            ],
        }
    )
    allowed(kubectl, WRITER, role)
    allowed(kubectl, REVIEWER, "anchorhold-skill-reviewer")
    seen = [kubectl.acting_as(user, "system:authenticated") for user in (REVIEWER, WRITER)]
    found = Library(kubectl, *seen)
    wait_for(lambda: not found.refusal(small("first")), 60, "the reviewer to have rights")
    yield found
    kubectl.delete("agentskills", "--all", POLICIES)
    kubectl.delete("role", role, POLICIES)
    for name in (f"{role}-{WRITER}", f"anchorhold-skill-reviewer-{REVIEWER}"):
        kubectl.delete("rolebinding", name, POLICIES)


@pytest.fixture(scope="module")
def onboarded(tenants: Tenants, image: str) -> Agents:
    """A namespace of these tests' own."""
    tenants.policy(wide_policy(TENANT, image))
    return tenants.onboard(TENANT, TENANT)


@pytest.fixture
def agents(onboarded: Agents) -> Iterator[Agents]:
    """That namespace; what a test submitted there is removed after it."""
    yield onboarded
    onboarded.remove_all()
    onboarded.submitted.clear()


def allowing(agents: Agents, change: Document) -> changed_policy:
    """The namespace's policy with these skills, for as long as a block runs."""
    return changed_policy(agents.admin, agents.namespace, change)


def admitted(agents: Agents, *documents: Document) -> list[Document]:
    """What a run says that names these skills, once admission knows that the policy lists them."""
    spec = asked(*documents)
    wait_for(lambda: agents.refusal(skills=spec) is None, 60, "the skills to be listed")
    return spec


def sentence(agents: Agents, name: str) -> str:
    """Why a run was refused."""
    found = condition(agents.end(name))
    assert found["reason"] == "PolicyRefused", found
    return str(found["message"])


# What an agent sees, and what it tries: in /skills, and in a copy that is its own.
LOOK = """
import ctypes, hashlib, json, os, shutil, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def tried(do):
    try: do(); return 'ok'
    except OSError as e: return e.strerror
def remount():
    # MS_REMOUNT | MS_BIND, without MS_RDONLY
    if libc.mount(b'none', b'/skills', None, 0x1020, None): raise OSError(
        ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def attempts(root):
    return {
        'write': tried(lambda: open(root + '/read-pdf/SKILL.md', 'a')),
        'create': tried(lambda: open(root + '/more', 'w')),
        'create below': tried(lambda: open(root + '/read-pdf/more', 'w')),
        'rename': tried(lambda: os.rename(root + '/read-pdf', root + '/other')),
        'remove': tried(lambda: os.unlink(root + '/INDEX.md')),
        'chmod': tried(lambda: os.chmod(root + '/write-changelog/SKILL.md', 0o777)),
        'link': tried(lambda: os.symlink('/tmp', root + '/link')),
    }
def folder(root):
    return {os.path.relpath(os.path.join(at, n), root): open(os.path.join(at, n), 'rb').read()
            for at, _, ns in os.walk(root) for n in ns}
def digest(files):
    whole = {p: hashlib.sha256(c).hexdigest() for p, c in files.items()}
    text = json.dumps(whole, sort_keys=True, separators=(',', ':'))
    return 'sha256:' + hashlib.sha256(text.encode()).hexdigest()
there = sorted(n for n in os.listdir('/skills') if not n.startswith('..'))
skills = [n for n in there if n != 'INDEX.md']
shutil.copytree('/skills', '/workspace/copy')
seen = {
    'there': there, 'index': open('/skills/INDEX.md').read()[-300:],
    'digests': {n: digest(folder('/skills/' + n)) for n in skills},
    'remount': tried(remount),
}
for where, root in (('skills', '/skills'), ('copy', '/workspace/copy')):
    seen[where] = attempts(root) if 'write-changelog' in there else {}
sort = '/skills/write-changelog/scripts/sort_commits.py'
if os.path.exists(sort):
    words = [sys.executable, '-B', sort]
    seen['script'] = subprocess.run(words, input=b'fix: it', capture_output=True).stdout.decode()
open(os.environ['ANCHORHOLD_RESULT'], 'w').write(json.dumps(seen))
"""


def looked(agents: Agents, name: str) -> Document:
    """What an agent has seen."""
    run = agents.end(name)
    assert condition(run)["reason"] == "Completed", run["status"]
    return dict(json.loads(run["status"]["result"]["message"]))


def test_an_agent_reads_the_skills_that_it_was_given_and_cannot_write_them(
    library: Library, agents: Agents, attempts: Attempts
):
    """Of the three that ship, two: what was packed is what lies there, under its digest."""
    packed = [packing.agent_skill(folder) for folder in sorted(SHIPPED.iterdir())]
    for document in packed:
        library.add(document)
    two = [d for d in packed if d["metadata"]["name"] != "summarise-repository"]
    with allowing(agents, listed(*packed)):
        name = agents.submit(LOOK, skills=admitted(agents, *two))
        seen = looked(agents, name)

    assert seen["there"] == ["INDEX.md", "read-pdf", "write-changelog"]
    assert seen["digests"] == {d["metadata"]["name"]: d["spec"]["digest"] for d in two}
    line = "- [write-changelog](write-changelog/SKILL.md): Writes a changelog entry for the users"
    assert line in seen["index"]
    assert seen["script"] == "### Fixed\n\n- It\n\n"
    # The files are not the agent's either, which the kernel sees before it sees the mount.
    assert seen["skills"].pop("write") in (READ_ONLY, "Permission denied")
    assert set(seen["skills"].values()) == {READ_ONLY}, seen["skills"]
    assert set(seen["copy"].values()) == {"ok"}, seen["copy"]
    assert seen["remount"] == "Operation not permitted"
    recorded = agents.get(name)["status"]["effective"]["skills"]
    assert recorded == listed(*two)["skills"]
    for tried, answer in seen["skills"].items():
        attempts.record("skills are read-only", f"{tried} in /skills", "the agent", answer,
                        f"{seen['copy'][tried]}, in a copy of its own")  # fmt: skip


def test_a_run_without_skills_has_none(agents: Agents):
    assert not agents.completes()["status"]["effective"]["skills"]
    seen = agents.submit(
        "import os; open(os.environ['ANCHORHOLD_RESULT'],'w').write(str(os.path.exists('/skills')))"
    )
    assert agents.end(seen)["status"]["result"]["message"] == "False"


def test_a_skill_that_the_policy_does_not_list_is_refused(
    library: Library, agents: Agents, attempts: Attempts
):
    """At once; listed, it is given."""
    skill = small("unlisted")
    library.add(skill)

    refusal = agents.refusal(skills=asked(skill))

    assert refusal is not None
    assert "`skills['unlisted']` must be a skill that the policy lists" in refusal
    with allowing(agents, listed(skill)):
        run = agents.completes(skills=admitted(agents, skill))
    without = condition(run)["reason"]
    attempts.record("skills", "name a skill that the policy does not list", "the author", refusal,
                    f"listed: {without}")  # fmt: skip


def test_a_changed_skill_does_not_run_before_the_policy_is_changed(
    library: Library, agents: Agents, attempts: Attempts
):
    """A run that is refused names both digests; under the new one the new text is read."""
    old, new = small("changing"), small("changing", "# Changed\n")
    library.add(old)
    with allowing(agents, listed(old)):
        before = agents.completes(skills=admitted(agents, old))
        library.add(new)
        refusal = refused_for(agents, asked(new))
    with allowing(agents, listed(new)):
        seen = looked(agents, agents.submit(LOOK, skills=admitted(agents, new)))

    assert condition(before)["reason"] == "Completed"
    assert f"`skills['changing']` with the digest '{new['spec']['digest']}'" in refusal
    assert f"must have the digest '{old['spec']['digest']}'" in refusal
    assert seen["digests"] == {"changing": new["spec"]["digest"]}
    attempts.record("skills", "run with a skill that was changed", "the author", refusal,
                    "with the policy changed as well: Completed")  # fmt: skip


def refused_for(agents: Agents, skills: list[Document]) -> str:
    """Why runs with these skills are refused, once the controller knows what they are today."""

    def look() -> str:
        ended = condition(agents.end(agents.submit("", skills=skills)))
        return str(ended["message"]) if ended["reason"] == "PolicyRefused" else ""

    return wait_for(look, 60, "a run to be refused")


def test_a_digest_that_is_not_the_files_is_not_believed(
    library: Library, agents: Agents, attempts: Attempts
):
    """Not even where the policy lists the lie: the controller computes it."""
    skill = small("liar", digest=LIES)
    library.add(skill)
    with allowing(agents, listed(skill)):
        refusal = sentence(agents, agents.submit("", skills=admitted(agents, skill)))
    honest = small("liar")
    library.add(honest)
    with allowing(agents, listed(honest)):
        run = agents.completes(skills=admitted(agents, honest))

    found = honest["spec"]["digest"]
    assert refusal == f"AgentSkill 'liar' has the `digest` '{LIES}', and its files have '{found}'"
    attempts.record("skills", "claim another digest", "a reviewer", refusal,
                    f"honest: {condition(run)['reason']}")  # fmt: skip


def test_nobody_creates_a_skill_without_the_right_to_review_it(
    library: Library, agents: Agents, attempts: Attempts
):
    """Without the rule it can be created, and runs do not get it all the same: no stamp."""
    skill = small("unreviewed")
    refusal = library.refusal(skill, by=library.writer)
    with (
        removed(library.admin, "mutatingadmissionpolicybinding", "anchorhold-reviewed-by"),
        removed(library.admin, "validatingadmissionpolicybinding", "anchorhold-skill-review"),
    ):
        wait_for(lambda: not library.refusal(skill, by=library.writer), 60, "the rule to be gone")
        wait_for(lambda: not stamp(library, skill), 60, "the stamp to be gone")
        stored = library.add(skill, by=library.writer)
    wait_for(lambda: library.refusal(small("x"), by=library.writer), 60, "the rule to be back")
    wait_for(lambda: stamp(library, small("x")), 60, "the stamp to be back")
    with allowing(agents, listed(skill)):
        unreviewed = sentence(agents, agents.submit("", skills=admitted(agents, skill)))
        library.add(skill)
        reviewed = wait_for(lambda: completed(agents, asked(skill)), 60, "the review to count")

    assert f"'{WRITER}' lacks the right to `review` it" in refusal
    assert names.REVIEWED_BY_ANNOTATION not in stored["metadata"].get("annotations", {})
    assert unreviewed == (
        "AgentSkill 'unreviewed' has no reviewer on record: a skill reviewer must create it again"
    )
    assert reviewed
    attempts.record("skills", "create a skill", "somebody who reviews none", refusal,
                    "without the rule: created, and no run gets it")  # fmt: skip
    attempts.record("skills", "run with an unreviewed skill", "the author", unreviewed,
                    "reviewed: Completed")  # fmt: skip


def stamp(library: Library, skill: Document) -> str:
    """Who the API server says reviewed a skill that is created now; nobody, if none may be."""
    try:
        made = library.reviewer.create(skill, "--dry-run=server")
    except RefusedError:
        return ""
    return str(made["metadata"].get("annotations", {}).get(names.REVIEWED_BY_ANNOTATION, ""))


def completed(agents: Agents, skills: list[Document]) -> bool:
    return bool(condition(agents.end(agents.submit("", skills=skills)))["reason"] == "Completed")


def test_a_review_is_neither_forged_nor_edited(library: Library, attempts: Attempts):
    """It names who created the skill, as the API server knows them."""
    skill = small("forged")
    skill["metadata"]["annotations"] = {names.REVIEWED_BY_ANNOTATION: "mallory"}
    stored = library.add(skill)
    words = ("annotate", "--overwrite", "agentskill", "forged", "-n", POLICIES)

    with pytest.raises(RefusedError) as refusal:
        library.reviewer(*words, f"{names.REVIEWED_BY_ANNOTATION}=mallory")

    assert stored["metadata"]["annotations"][names.REVIEWED_BY_ANNOTATION] == REVIEWER
    assert f"must be '{REVIEWER}': create the AgentSkill again" in str(refusal.value)
    library.reviewer(*words, "note=mine")  # The control: it is this annotation.
    shown = library.reviewer("get", "askill", "forged", "-n", POLICIES)
    assert shown.splitlines()[1].split()[:3] == ["forged", REVIEWER, skill["spec"]["digest"]]
    attempts.record("skills", "edit who reviewed a skill", "a reviewer", str(refusal.value),
                    "another annotation: edited")  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        *("../SKILL.md", "a/../../b", "/etc/passwd", "./a", "a//b", "a/", "a\\b", "a\nb", ".a"),
        *(
            "..data/a",
            "-rf",
            "Docs/a",
            "skill.md",
            "SKILL.md",
            "SKILL.md/a",
            "skill.md/a",
            "\u0430",
        ),
    ],
)
def test_a_skill_with_a_trick_in_it_is_refused(library: Library, attempts: Attempts, path: str):
    """By the API server; the same skill with a plain path is taken."""
    skill = small("tricks")
    skill["spec"]["files"].append({"path": path, "content": "x"})

    refusal = library.refusal(skill)

    assert "spec.files" in refusal
    skill["spec"]["files"][-1]["path"] = "a/b"
    assert library.refusal(skill) == ""
    attempts.record("skills", f"a file at {path!r}", "a reviewer", refusal[-110:], "'a/b': created")


LARGEST = [{"path": f"{n}.txt", "content": "\n" * 16_640} for n in range(31)]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([{"path": "more.txt", "content": ""}], "must have at most 32 items"),
        ([], "must have at most 524288 characters together"),
        (None, "Too long: may not be more than 131072"),
    ],
    ids=["files", "characters", "characters of one file"],
)
def test_a_skill_that_is_too_large_is_refused(
    library: Library, more: list[Document] | None, says: str
):
    """And the largest is taken, stored, and costs no rule too much."""
    skill = small("largest", "x" * 8_448)
    skill["spec"]["files"] += LARGEST
    assert sum(len(file["content"]) for file in skill["spec"]["files"]) == 524_288
    library.add(skill)

    if more is None:
        skill["spec"]["files"] = [{"path": "SKILL.md", "content": "x" * 131_073}]
    else:
        skill["spec"]["files"][0]["content"] += "x"
        skill["spec"]["files"] += more

    library.admin.delete("agentskill", "largest", POLICIES)
    assert says in library.refusal(skill)


def test_a_run_is_given_so_much_and_no_more(library: Library, agents: Agents, attempts: Attempts):
    """Two skills that each are small enough, and together are not; each by itself is given."""
    size = {"large-one": 500_000, "large-two": 417_505}
    skills = [packed(name, characters) for name, characters in size.items()]
    for skill in skills:
        library.add(skill)
    with allowing(agents, listed(*skills)):
        refusal = sentence(agents, agents.submit("", skills=admitted(agents, *skills)))
        each = [agents.completes(skills=asked(skill)) for skill in skills]

    assert refusal == "`skills` with '917505' bytes together must have at most '917504'"
    assert [condition(run)["reason"] for run in each] == ["Completed", "Completed"]
    attempts.record("skills", "more than 896 KiB of skills", "the author", refusal,
                    "each of the two alone: Completed")  # fmt: skip


def packed(name: str, characters: int) -> Document:
    """A skill of so many characters."""
    files = {"SKILL.md": "#\n"}
    while characters > sum(map(len, files.values())):
        left = characters - sum(map(len, files.values()))
        files[f"{len(files)}.txt"] = "x" * min(left, 131_072)
    skill = small(name, digest=digest.of_texts(files))
    skill["spec"]["files"] = [{"path": path, "content": text} for path, text in files.items()]
    return skill


KEEPS_READING = """
import time
while True:
    assert open('/skills/running/SKILL.md').read() == '# Small\\n'
    time.sleep(0.2)
"""


def test_what_becomes_of_a_skill_does_not_reach_a_running_agent(
    library: Library, agents: Agents, attempts: Attempts
):
    """Replaced and then deleted, it is what it was where it is mounted. New runs do not get it."""
    skill = small("running")
    library.add(skill)
    with allowing(agents, listed(skill)):
        spec = admitted(agents, skill)
        name = agents.running(KEEPS_READING, skills=spec)
        library.add(small("running", "# Other\n"))
        refusal = refused_for(agents, spec)
        library.admin.delete("agentskill", "running", POLICIES)
        waiting = agents.until(agents.submit("", skills=spec), "Pending", says="does not exist")
        going_on = condition(agents.get(name))["reason"]

    assert going_on == "Running"
    assert (
        condition(waiting)["message"]
        == "`skills['running']` names an AgentSkill that does not exist"
    )
    attempts.record("skills", "replace the skill of a running agent", "a reviewer",
                    f"it goes on with the old text: {going_on}", refusal)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (listed(small("running", "# Other\n")), "must have the digest"),
        ({"skills": None}, "`skills['running']` must be a skill that the policy lists"),
    ],
    ids=["another digest", "no skill"],
)
def test_a_policy_that_allows_a_skill_no_more_ends_what_runs_with_it(
    library: Library, agents: Agents, attempts: Attempts, change: Document, says: str
):
    skill = small("running")
    library.add(skill)
    with allowing(agents, listed(skill)):
        spec = admitted(agents, skill)
        wait_for(lambda: completed(agents, spec), 60, "the skill to be known")
        name = agents.running(KEEPS_READING, skills=spec)
        with allowing(agents, change):
            ended = condition(agents.end(name))

    assert ended["reason"] == "PolicyRevoked"
    assert says in ended["message"]
    attempts.record("skills", "go on with a skill that the policy allows no more", "the agent",
                    f"PolicyRevoked: {ended['message']}", "before: Running")  # fmt: skip


LATER = {"placement": {"nodeSelector": {"pool": "later"}}}


@pytest.fixture
def late_node(kubectl: Kubectl) -> Iterator[None]:
    """The node gets the label that cells wait for in a test, and loses it after it."""
    yield
    kubectl("label", "node", NODE_NAME, "pool-")


@pytest.mark.usefixtures("late_node")
@pytest.mark.parametrize(
    ("text", "reason"),
    [("# Small\n", "Completed"), ("# Obey\n", "InputMissing")],
    ids=["the same", "another"],
)
def test_an_agent_does_not_start_with_skills_that_were_swapped_before_it_could(
    library: Library, agents: Agents, attempts: Attempts, text: str, reason: str
):
    """Authors may delete and make ConfigMaps, also the one that carries a run's skills."""
    skill = small("swapped")
    library.add(skill)
    with allowing(agents, {**listed(skill), **LATER}):
        spec = admitted(agents, skill)
        wait_for(lambda: placed(agents, spec), 60, "a cell that waits for its node")
        name = agents.submitted[-1]
        swap(agents, name, text)
        agents.admin("label", "node", NODE_NAME, "pool=later")
        ended = condition(agents.end(name))

    assert ended["reason"] == reason
    if reason == "InputMissing":
        assert ended["message"] == "the content of '/skills' is not what was granted"
        attempts.record("skills", "swap the ConfigMap of a run's skills", "the author",
                        ended["message"], "the same text: Completed")  # fmt: skip


def swap(agents: Agents, name: str, text: str) -> None:
    """Make the ConfigMap of a run's skills anew, with another text."""
    (pod,) = agents.pods(name)
    (volume,) = (v for v in pod["spec"]["volumes"] if v["name"] == "skills")
    old = agents.author.get("configmap", volume["configMap"]["name"], agents.namespace)
    assert old is not None
    agents.author.delete("configmap", old["metadata"]["name"], agents.namespace)
    new = {key: text if value == "# Small\n" else value for key, value in old["data"].items()}
    metadata = {"name": old["metadata"]["name"], "namespace": agents.namespace}
    agents.author.create({**old, "metadata": metadata, "data": new})


def placed(agents: Agents, skills: list[Document]) -> bool:
    """Whether a new run's cell waits for its node, because the policy's placement is known."""
    name = agents.submit("", skills=skills)
    agents.until(name, "Pending", "Completed")
    wait_for(lambda: agents.pods(name) or done(agents, name), 60, "a cell")
    return condition(agents.get(name))["reason"] == "Pending" and "pool" in str(agents.pods(name))


def done(agents: Agents, name: str) -> bool:
    return bool(condition(agents.get(name))["status"] != "Unknown")
