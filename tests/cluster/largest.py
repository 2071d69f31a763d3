"""The largest AgentPolicy, AgentRun and cell that the API takes: admission must afford them."""

from bed.kube import Document
from examples import twin

INPUTS = SKILLS = 16
SKILL_FILES = 32
SKILLS_MOUNT = {
    "name": "skills",
    "mountPath": "/skills",
    "readOnly": True,
    "recursiveReadOnly": "Enabled",
}
LONGEST_WORD = "x" * 1_024
SOURCE_FIELD = {"configMap": "name", "persistentVolumeClaim": "claimName", "image": "reference"}
LISTS = {"configMap": "configMaps", "persistentVolumeClaim": "persistentVolumeClaims"}


def reference(repository: str, number: int) -> str:
    """An image reference of the greatest length."""
    return f"example.com/{repository}/{number:03}/".ljust(191, "x") + f"@sha256:{number:064x}"


def longest_name(number: int) -> str:
    """The name of an object, of the greatest length."""
    return f"n{number:03}".ljust(253, "x")


def input_name(number: int) -> str:
    """The name of an input, of the greatest length."""
    return f"i{number:02}".ljust(40, "x")


def environment() -> list[Document]:
    """As many variables as a run may have."""
    return [
        {"name": f"V{number:02}".ljust(128, "x"), "value": LONGEST_WORD} for number in range(32)
    ]


def egress_rule(number: int) -> Document:
    """A rule that is as long as can be."""
    return {
        "name": input_name(number),
        "host": f"{number:02}".ljust(63, "x") + ".example.com",
        "ports": list(range(1, 9)),
        "methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        "paths": [f"/{place:02}".ljust(128, "x") for place in range(16)],
        "env": environment()[:8],
    }


# As many entries as the CRD takes, and as long: what admission rules cost depends on it.
RULES = 16
POLICY: Document = {
    "images": [{"reference": reference("agents", number)} for number in range(64)],
    "inputs": {
        "configMaps": [{"name": longest_name(number)} for number in range(64)],
        "persistentVolumeClaims": [{"name": longest_name(number)} for number in range(64)],
        "images": [{"reference": reference("data", number)} for number in range(64)],
    },
    "egress": {"rules": [egress_rule(number) for number in range(32)]},
    "skills": [
        {"name": f"s{n:02}".ljust(40, "x"), "digest": f"sha256:{n:064x}"} for n in range(64)
    ],
    "placement": {
        "nodeSelector": {
            f"example.com/{n}".ljust(75, "x"): f"{n}".ljust(63, "x") for n in range(8)
        },
        "tolerations": [
            {
                "key": f"example.com/{n}".ljust(75, "x"),
                "value": f"{n}".ljust(63, "x"),
                "effect": "NoSchedule",
            }
            for n in range(8)
        ],
    },
}


def source(kind: str, number: int) -> Document:
    """What an input of this kind reads."""
    value = reference("data", number) if kind == "image" else longest_name(number)
    return {SOURCE_FIELD[kind]: value}


def unlisted(kind: str) -> str:
    """What is on no list, and is found out at its end."""
    return str(source(kind, 64)[SOURCE_FIELD[kind]])


def largest_run(namespace: str, kind: str) -> tuple[Document, list[Document]]:
    """The run, and what its inputs read: the last entries of the policy's list."""
    run = twin("run").posted(namespace)
    sources = [source(kind, 63 - number) for number in range(INPUTS)]
    run["spec"] |= {
        "task": "x" * 65_536,
        "image": reference("agents", 63),
        "command": [LONGEST_WORD] * 8,
        "args": [LONGEST_WORD] * 32,
        "env": environment(),
        "inputs": [{"name": input_name(n), kind: item} for n, item in enumerate(sources)],
        "egress": {"rules": [{"name": input_name(31 - n)} for n in range(RULES)]},
        "skills": [{"name": skill["name"]} for skill in POLICY["skills"][-SKILLS:]],
    }
    return run, sources


def largest_pod(namespace: str, kind: str) -> tuple[Document, list[Document]]:
    """Its cell, and the sources of its inputs' volumes."""
    pod = twin("pod").posted(namespace)
    sources = [source(kind, 63 - number) for number in range(INPUTS)]
    more = {"readOnly": True} if kind == "persistentVolumeClaim" else {}
    pod["metadata"]["annotations"]["anchorhold.dev/effective"] = "x" * 32_768
    rules = (f"{input_name(31 - n)}=sha256:{n:064x}" for n in range(RULES))
    pod["metadata"]["annotations"]["anchorhold.dev/rules"] = " ".join(rules)
    pod["spec"]["volumes"][3:] = [
        {"name": f"input-{input_name(n)}", kind: item | more} for n, item in enumerate(sources)
    ]
    pod["spec"]["volumes"].append(largest_skills(pod["metadata"]["name"]))
    agent = pod["spec"]["containers"][0]
    agent |= {
        "image": reference("agents", 63),
        "command": [LONGEST_WORD] * 8,
        "args": [LONGEST_WORD] * 32,
        "env": environment(),
    }
    agent["volumeMounts"][3:] = [
        {
            "name": f"input-{input_name(n)}",
            "mountPath": f"/inputs/{input_name(n)}",
            "readOnly": True,
            "recursiveReadOnly": "Enabled",
        }
        for n in range(INPUTS)
    ]
    agent["volumeMounts"].append(SKILLS_MOUNT)
    pod["spec"]["initContainers"][0]["volumeMounts"][1:] = agent["volumeMounts"][3:]
    return pod, [volume[kind] for volume in pod["spec"]["volumes"][3:-1]]


def largest_skills(pod_name: str) -> Document:
    """The volume of as many skills, with as many files, as a run may have."""
    paths = [
        f"{skill['name']}/{f'f{number:02}'.ljust(128, 'x')}"
        for skill in POLICY["skills"][-SKILLS:]
        for number in range(SKILL_FILES)
    ]
    items = [{"key": f"{number:03}", "path": path} for number, path in enumerate(paths)]
    return {"name": "skills", "configMap": {"name": f"{pod_name}-{'e' * 8}", "items": items}}


def largest_placement() -> Document:
    """The place of its cell."""
    return {key: POLICY["placement"][key] for key in ("nodeSelector", "tolerations")}
