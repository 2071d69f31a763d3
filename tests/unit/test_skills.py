"""Skills: who is given one, what a cell finds of it, and what takes it away again."""

import json
from typing import Any

import pytest

from anchorhold import names
from anchorhold.api.status import Reason
from anchorhold.cell import pod, skills
from anchorhold.controller import observed, plan
from anchorhold.policy import digest, library
from anchorhold.policy.evaluate import evaluate, revoked
from anchorhold.policy.grant import Grant, GrantedSkill, Refusal
from factories import (
    NOW,
    POD_NAME,
    READ_PDF,
    SITE,
    STARTED,
    CheckGolden,
    Document,
    Skills,
    agent,
    make_grant,
    make_observed,
    make_pod,
    make_policy,
    make_request,
    make_run,
    make_skill,
    read_policies,
    read_skills,
)

DIGEST = digest.of_texts(READ_PDF)
OTHER_DIGEST = "sha256:" + "0" * 64
ASKED = {"skills": [{"name": "read-pdf"}]}
LISTED = {"skills": [{"name": "read-pdf", "digest": DIGEST}]}
OTHERWISE = {"skills": [{"name": "read-pdf", "digest": OTHER_DIGEST}]}


def judge(
    known: Skills, *policies: Document, asked: dict[str, Any] | None = None
) -> Grant | Refusal:
    """The verdict on a run with one skill."""
    bound = read_policies(*(policies or (make_policy(**LISTED),)))
    return evaluate(make_request(**(asked or ASKED)), bound, {}, known, SITE)


def test_a_skill_that_was_reviewed_and_is_listed_is_granted():
    verdict = judge(read_skills(make_skill()))

    assert isinstance(verdict, Grant)
    assert verdict.skills == (
        GrantedSkill("read-pdf", DIGEST, "Reads the text of a PDF.", READ_PDF),
    )
    assert verdict.effective.model_dump()["skills"] == ({"name": "read-pdf", "digest": DIGEST},)


CHANGED = make_skill(files={"SKILL.md": "Other text."})
REFUSALS: dict[str, tuple[Skills, Document, Reason, str]] = {
    "that the policy does not list": (
        read_skills(make_skill()),
        make_policy(),
        Reason.POLICY_REFUSED,
        "`skills['read-pdf']` must be a skill that the policy lists (AgentPolicy 'default')",
    ),
    "that does not exist": (
        {},
        make_policy(**LISTED),
        Reason.INPUT_MISSING,
        "`skills['read-pdf']` names an AgentSkill that does not exist",
    ),
    "that nobody reviewed": (
        read_skills(make_skill({"annotations": None})),
        make_policy(**LISTED),
        Reason.POLICY_REFUSED,
        "AgentSkill 'read-pdf' has no reviewer on record: a skill reviewer must create it again",
    ),
    "whose reviewer has no name": (
        read_skills(make_skill({"annotations": {names.REVIEWED_BY_ANNOTATION: ""}})),
        make_policy(**LISTED),
        Reason.POLICY_REFUSED,
        "AgentSkill 'read-pdf' has no reviewer on record: a skill reviewer must create it again",
    ),
    "that lies about its digest": (
        read_skills(make_skill(digest=OTHER_DIGEST)),
        make_policy(**OTHERWISE),
        Reason.POLICY_REFUSED,
        f"AgentSkill 'read-pdf' has the `digest` '{OTHER_DIGEST}', and its files have '{DIGEST}'",
    ),
    "that was changed": (
        read_skills(CHANGED),
        make_policy(**LISTED),
        Reason.POLICY_REFUSED,
        (
            f"`skills['read-pdf']` with the digest '{CHANGED['spec']['digest']}' must have the "
            f"digest '{DIGEST}' (AgentPolicy 'default')"
        ),
    ),
    "with a field from a newer version": (
        read_skills(make_skill(language="en")),
        make_policy(**LISTED),
        Reason.POLICY_REFUSED,
        (
            "AgentSkill 'read-pdf' cannot be read by this version: `language`: "
            "Extra inputs are not permitted"
        ),
    ),
    "that leaves its folder": (
        read_skills(make_skill(files={"../SKILL.md": "x"})),
        make_policy(**LISTED),
        Reason.POLICY_REFUSED,
        (
            "AgentSkill 'read-pdf' cannot be read by this version: `files.0.path`: String should "
            "match pattern '^([a-z0-9_][a-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*$'"
        ),
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_skill_is_refused(what: str):
    known, policy, reason, sentence = REFUSALS[what]

    assert judge(known, policy) == Refusal(reason, sentence)


def test_every_policy_must_list_the_skill_as_it_is():
    second = make_policy({"name": "second"}, **OTHERWISE)

    assert judge(read_skills(make_skill()), make_policy(**LISTED), second) == Refusal(
        Reason.POLICY_REFUSED,
        f"`skills['read-pdf']` with the digest '{DIGEST}' must have the digest '{OTHER_DIGEST}' "
        "(AgentPolicy 'second')",
    )


def test_what_policies_list_and_the_run_does_not_name_is_of_no_matter():
    """Not even where it does not exist."""
    more = {"skills": [{"name": "absent", "digest": OTHER_DIGEST}, *LISTED["skills"]]}

    assert isinstance(judge(read_skills(make_skill()), make_policy(**more)), Grant)


def large(number: int, size: int) -> Document:
    """A skill of so many bytes."""
    piece, rest = 131_072, {}
    while size > 0:
        rest[f"{len(rest)}.txt"] = "x" * min(piece, size)
        size -= piece
    return make_skill({"name": f"large-{number}"}, files=rest)


@pytest.mark.parametrize(("beyond", "granted"), [(0, True), (1, False)])
def test_the_skills_of_a_run_are_bounded_together(beyond: int, granted: bool):  # noqa: FBT001
    documents = [large(0, library.MAX_BYTES - 400_000), large(1, 400_000 + beyond)]
    found = [{"name": d["metadata"]["name"], "digest": d["spec"]["digest"]} for d in documents]
    asked = {"skills": [{"name": item["name"]} for item in found]}

    verdict = judge(read_skills(*documents), make_policy(skills=found), asked=asked)

    sentence = "`skills` with '917505' bytes together must have at most '917504'"
    assert isinstance(verdict, Grant) or verdict == Refusal(Reason.POLICY_REFUSED, sentence)
    assert isinstance(verdict, Grant) == granted


# --- What a cell finds ----------------------------------------------------------------------------

TWO = read_skills(
    make_skill(),
    make_skill({"name": "write"}, files={"SKILL.md": "# Write\n"}, description="Writes."),
)


def grant_of_two() -> Grant:
    found = [
        {"name": s.name, "digest": s.digest} for s in TWO.values() if isinstance(s, GrantedSkill)
    ]
    request = make_request(skills=[{"name": name} for name in TWO])
    return make_grant(request, read_policies(make_policy(skills=found)), skills=TWO)


def test_the_folder_has_an_index_and_each_skill_under_its_name():
    folder = skills.folder(grant_of_two())

    assert folder.pop("INDEX.md").endswith(
        "- [read-pdf](read-pdf/SKILL.md): Reads the text of a PDF.\n"
        "- [write](write/SKILL.md): Writes.\n"
    )
    assert folder == {
        "read-pdf/SKILL.md": READ_PDF["SKILL.md"],
        "read-pdf/scripts/read.py": READ_PDF["scripts/read.py"],
        "write/SKILL.md": "# Write\n",
    }


def test_the_config_map_of_the_skills_is_this_one(check_golden: CheckGolden):
    (config_map,) = skills.config_maps(grant_of_two())

    check_golden("configmap-skills.yaml", config_map)


def test_the_pod_puts_each_text_where_it_belongs():
    """The ConfigMap as its volume maps it is the folder, and every part of that is read-only."""
    grant = grant_of_two()
    (config_map,) = skills.config_maps(grant)
    spec = pod.pod(grant)["spec"]

    source = next(volume["configMap"] for volume in spec["volumes"] if volume["name"] == "skills")
    mount = next(m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "skills")

    assert source["name"] == config_map["metadata"]["name"]
    assert {item["path"]: config_map["data"][item["key"]] for item in source["items"]} == (
        skills.folder(grant)
    )
    assert len(source["items"]) == len(config_map["data"])
    assert mount == {
        "name": "skills",
        "mountPath": "/skills",
        "readOnly": True,
        "recursiveReadOnly": "Enabled",
    }


def test_other_skills_have_another_config_map():
    """A cell that could not be made yet is made with what is granted then, not with what was."""
    request = make_request(**ASKED)
    other = {"skills": [{"name": "read-pdf", "digest": CHANGED["spec"]["digest"]}]}
    one = make_grant(
        request, read_policies(make_policy(**LISTED)), skills=read_skills(make_skill())
    )
    two = make_grant(request, read_policies(make_policy(**other)), skills=read_skills(CHANGED))

    found = [skills.config_map_name(grant) for grant in (one, two)]

    assert found[0] != found[1]
    assert all(name.startswith(f"{POD_NAME}-") for name in found)


def test_a_run_without_skills_has_no_folder():
    grant = make_grant()

    assert skills.folder(grant) == {}
    assert skills.config_maps(grant) == skills.volumes(grant) == []


# --- What takes it away ---------------------------------------------------------------------------


def test_a_running_run_goes_on_while_its_skill_is_listed_as_it_was():
    policies = read_policies(make_policy(**LISTED))

    assert revoked(make_request(**ASKED), policies, "Localhost", {"read-pdf": DIGEST}) is None


def test_a_running_run_ends_when_a_policy_lists_its_skill_with_another_digest():
    policies = read_policies(make_policy(**LISTED), make_policy({"name": "second"}, **OTHERWISE))

    assert revoked(make_request(**ASKED), policies, "Localhost", {"read-pdf": DIGEST}) == (
        f"`skills['read-pdf']` with the digest '{DIGEST}' must have the digest '{OTHER_DIGEST}' "
        "(AgentPolicy 'second')"
    )


def cell_with_a_skill() -> Document:
    """A running cell, with the record of what it was granted."""
    bound, known = read_policies(make_policy(**LISTED)), read_skills(make_skill())
    granted = make_grant(make_request(**ASKED), bound, skills=known)
    record = {"policies": [], "effective": granted.effective.model_dump(mode="json")}
    annotations = {names.EFFECTIVE_ANNOTATION: json.dumps(record)}
    running = agent(running={"startedAt": STARTED})
    return make_pod({"annotations": annotations}, phase="Running", containerStatuses=running)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [(LISTED, "Running"), (OTHERWISE, "PolicyRevoked"), ({}, "PolicyRevoked")],
    ids=["listed", "changed", "removed"],
)
def test_what_the_policy_says_of_its_skill_ends_a_running_run(policy: Document, reason: str):
    """What has become of the AgentSkill does not: the cell has its own copy."""
    seen = make_observed(
        make_run(**ASKED),
        cell_with_a_skill(),
        policies=read_policies(make_policy(**policy)),
        skills={},
        now=NOW,
    )

    decided = plan.decide(seen)

    assert decided.status is not None
    assert {c["reason"] for c in decided.status["conditions"] if c["type"] == "Succeeded"} == {
        reason
    }


@pytest.mark.parametrize(
    "record",
    [
        "{}",
        '{"effective": 1}',
        '{"effective": {"skills": 1}}',
        '{"effective": {"image": "\\ud800"}}',
    ],
)
def test_a_record_that_is_not_ours_names_no_skills(record: str):
    pod_ = observed.read_pod(make_pod({"annotations": {names.EFFECTIVE_ANNOTATION: record}}))

    assert pod_.skills == {}


def test_a_run_whose_skill_is_not_there_yet_waits_for_it():
    """It may be applied after the run."""
    seen = make_observed(make_run(**ASKED), policies=read_policies(make_policy(**LISTED)))

    decided = plan.decide(seen)

    assert decided.look_again is not None
    assert decided.status is not None
    assert decided.status["conditions"][1]["reason"] == "Pending"
