"""Objects as the API server sends them, saying only what a test is about.

Each maker fills in the rest; what it makes is read by the readers that the controller uses. A
`metadata` argument overrides single fields of the metadata, keyword arguments those of the spec
(of a run or a policy) or the status (of a Pod).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from anchorhold import names
from anchorhold.controller import observed
from anchorhold.controller.sentinels import Lookout, Sentinel
from anchorhold.policy import digest, fence, library
from anchorhold.policy.evaluate import ConfigMapFacts, evaluate
from anchorhold.policy.grant import BoundPolicy, Grant, GrantedSkill, Refusal, Request, Site

Document: TypeAlias = dict[str, Any]
# The fixture `check_golden`: compares a manifest with a file of tests/golden/.
Skills: TypeAlias = Mapping[str, GrantedSkill | Refusal]
CheckGolden: TypeAlias = Callable[[str, Document], None]

UID = "0f5a3c1e-7d0b-4a53-9d41-2b6f7c8e9a10"
OTHER_UID = "9b1d2c3e-0000-4a53-9d41-2b6f7c8e9a10"
POD_UID = "5c8e1f70-3a2b-4c1d-8e9f-a0b1c2d3e4f5"
POD_NAME = "review-0f5a3c1e"
IMAGE = "registry.example/agent@sha256:" + "a" * 64
OTHER_IMAGE = "registry.example/other@sha256:" + "b" * 64
DATA_IMAGE = "registry.example/data@sha256:" + "c" * 64

# What a skill holds.
READ_PDF = {"SKILL.md": "# Read a PDF\n", "scripts/read.py": "print('text')\n"}

# What the chart says of the installation.
PROFILE = "anchorhold/agent-0123456789abcdef.json"
SITE = Site(
    image="registry.example/anchorhold@sha256:" + "e" * 64,
    canary="10.96.0.20:8443",
    closed=("192.0.2.10:6443",),
    gateways=1,
    profile=PROFILE,
)

CREATED = "2026-01-01T00:00:00Z"
STARTED = "2026-01-01T00:00:05Z"
FINISHED = "2026-01-01T00:01:00Z"
# Ten seconds after the run was created.
NOW = datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)
NOW_TEXT = "2026-01-01T00:00:10Z"

LIMITS = {
    "activeDeadlineSeconds": 600,
    "cpu": "2",
    "memory": "1Gi",
    "workspace": "1Gi",
    "activeRuns": 2,
    "queuedRuns": 3,
}


# A rule of the gateway, as a policy has it.
RULE: Document = {
    "name": "model",
    "host": "api.model.example",
    "methods": ["POST"],
    "paths": ["/v1/**"],
    "env": [
        {"name": "MODEL_URL", "value": "http://{gateway}/api.model.example/v1"},
        {"name": "MODEL_KEY", "value": "{token}"},
    ],
}


def make_run(
    metadata: Document | None = None, /, *, status: Document | None = None, **spec: object
) -> Document:
    """An AgentRun. The API server has not written a status unless one is given."""
    document = {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {
            "name": "review",
            "namespace": "team-a",
            "uid": UID,
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": CREATED,
            **(metadata or {}),
        },
        "spec": {"task": "Review the change.", "image": IMAGE, **spec},
    }
    return document if status is None else {**document, "status": status}


def make_policy(
    metadata: Document | None = None, /, *, limits: Document | None = None, **spec: object
) -> Document:
    """An AgentPolicy that lists IMAGE; `limits` overrides single limits."""
    return {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {
            "name": "default",
            "namespace": "anchorhold-policies",
            "uid": "policy-uid",
            "generation": 1,
            **(metadata or {}),
        },
        "spec": {
            "images": [{"reference": IMAGE}],
            "limits": {**LIMITS, **(limits or {})},
            **spec,
        },
    }


def make_skill(
    metadata: Document | None = None, /, *, files: Mapping[str, str] = READ_PDF, **spec: object
) -> Document:
    """An AgentSkill that alice reviewed, of these files, with their digest."""
    return {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentSkill",
        "metadata": {
            "name": "read-pdf",
            "namespace": "anchorhold-policies",
            "annotations": {names.REVIEWED_BY_ANNOTATION: "alice"},
            **(metadata or {}),
        },
        "spec": {
            "description": "Reads the text of a PDF.",
            "files": [{"path": path, "content": text} for path, text in files.items()],
            "digest": digest.of_texts(files),
            **spec,
        },
    }


def read_skills(*documents: Document) -> Skills:
    """AgentSkills by name, as they were read."""
    return {d["metadata"]["name"]: library.read(d) for d in documents}


def make_pod(metadata: Document | None = None, /, **status: object) -> Document:
    """The cell of `make_run()` on its node, with the record of what was granted."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": POD_NAME,
            "namespace": "team-a",
            "uid": POD_UID,
            "creationTimestamp": CREATED,
            "labels": {"anchorhold.dev/run": UID},
            "annotations": {names.EFFECTIVE_ANNOTATION: json.dumps(RECORD)},
            "ownerReferences": [{"name": "review", "uid": UID, "controller": True}],
            **(metadata or {}),
        },
        "spec": {
            "nodeName": "node-1",
            "activeDeadlineSeconds": 600,
            "securityContext": {
                "seccompProfile": {"type": "Localhost", "localhostProfile": PROFILE}
            },
        },
        "status": {"phase": "Pending", **status},
    }


def agent(**state: object) -> list[Document]:
    """The `containerStatuses` of a cell whose agent is in this state."""
    return [{"name": "agent", "state": state}]


def netgate(**state: object) -> list[Document]:
    """The `initContainerStatuses` of a cell whose netgate is in this state."""
    return [{"name": "netgate", "state": state}]


def gate_word(reason: str = "", message: str = "", **more: object) -> str:
    """The last word of a netgate: it lets the agent in unless there is a reason."""
    return json.dumps(
        {"reason": reason, "message": message, "openMilliseconds": 0, "filtered": True, **more}
    )


def shut(reason: str, message: str) -> list[Document]:
    """The `initContainerStatuses` of a cell whose netgate let nobody in."""
    return netgate(terminated={"exitCode": 1, "message": gate_word(reason, message)})


def running_pod() -> Document:
    """A cell whose agent has started."""
    return make_pod(phase="Running", containerStatuses=agent(running={"startedAt": STARTED}))


def terminated(exit_code: int = 0, **more: object) -> list[Document]:
    """The `containerStatuses` of a cell whose agent has run and ended."""
    ended = {"exitCode": exit_code, "startedAt": STARTED, "finishedAt": FINISHED, **more}
    return agent(terminated=ended)


def make_request(**spec: Any) -> Request:  # noqa: ANN401
    """What a run asks for, as it was read."""
    request = observed.read_request(make_run(**spec))
    assert isinstance(request, Request), request
    return request


def read_policies(*documents: Document) -> tuple[BoundPolicy, ...]:
    """Policies, as they were read."""
    found = [fence.read_policy(document) for document in documents or (make_policy(),)]
    assert not any(isinstance(policy, Refusal) for policy in found), found
    return tuple(policy for policy in found if isinstance(policy, BoundPolicy))


def make_grant(
    request: Request | None = None,
    policies: Sequence[BoundPolicy] = (),
    config_maps: Mapping[str, ConfigMapFacts] | None = None,
    skills: Skills | None = None,
    site: Site = SITE,
) -> Grant:
    """What `evaluate` grants; nothing else makes a Grant, a test neither."""
    bound = policies or read_policies()
    verdict = evaluate(request or make_request(), bound, config_maps or {}, skills or {}, site)
    assert isinstance(verdict, Grant), verdict
    return verdict


# What `make_pod` carries: the record that a cell of `make_run` under `make_policy` really has.
RECORD = {
    "policies": [{"name": "default", "uid": "policy-uid", "generation": 1}],
    "effective": make_grant().effective.model_dump(mode="json", exclude_none=True),
}


def guarded(*more: Sentinel) -> Lookout:
    """What the sentinels say where the cell's node is closed, and lacks nothing."""
    return Lookout((Sentinel("node-1", ready=True, breach="", unenforced=[]), *more))


def make_observed(
    run: Document | None = None, pod: Document | None = None, **more: object
) -> observed.Observed:
    """A new run in a namespace that is bound to `make_policy()`, first in its turn."""
    fields: Document = {
        "watched": True,
        "sees_pods": True,
        "vanished": False,
        "policies": read_policies(),
        "config_maps": {},
        "skills": {},
        "site": SITE,
        "canary_answers": True,
        "lookout": guarded(),
        "place": 0,
        "now": NOW,
        **more,
    }
    return observed.Observed(
        run=observed.read_run(run or make_run()),
        pod=observed.read_pod(pod) if pod is not None else None,
        **fields,
    )
