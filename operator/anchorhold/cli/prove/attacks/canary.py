"""A Pod without a fence that counts who comes: what the gateway says is its word, this is not."""

from dataclasses import dataclass

from anchorhold.cli.api import Document, namespaced
from anchorhold.cli.prove.props import program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

# The label by which its Service finds it, and the ports of both.
LABEL = "anchorhold-prove"
PORT, USUAL_PORT = 8080, 443


@dataclass(frozen=True)
class Canary:
    """Where it is: its Pod's address, its Service's, and the Service's name."""

    pod: str
    address: str
    service: str
    name: str

    @property
    def places(self) -> tuple[str, ...]:
        """All that it may be asked for by."""
        return (self.address, self.service, self.name)


def start(stage: Stage) -> Canary:
    """Start one in the namespace without a fence; it goes with that."""
    pod = stage.start("canary", program("listen", {}))
    path = namespaced(stage.apart, "pods", pod)
    stage.cluster.patch(path, {"metadata": {"labels": {LABEL: pod}}})
    made = stage.cluster.post(namespaced(stage.apart, "services"), service(pod))
    address = stage.address(pod)
    stage.wait(lambda: "listening" in stage.log(stage.apart, pod), "the canary to listen")
    return Canary(pod, address, made["spec"]["clusterIP"], f"{pod}.{stage.apart}.svc.cluster.local")


def service(pod: str) -> Document:
    """A Service of the Pod's name that has both ports."""
    ports = [{"name": f"p{port}", "port": port, "targetPort": PORT} for port in (PORT, USUAL_PORT)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": pod},
        "spec": {"selector": {LABEL: pod}, "ports": ports},
    }


def without_fence(stage: Stage, canary: Canary) -> dict[str, str]:
    """What an unfenced Pod gets from each of the canary's places, by either port."""
    targets = [
        {"name": f"{place} {port}", "kind": "tcp", "host": place, "port": port}
        for place in canary.places
        for port in (PORT, USUAL_PORT)
    ]
    said = stage.free("reach", {"word": word(stage), "targets": targets})
    return {
        place: next((s for s in both if s == "answered"), both[0])
        for place in canary.places
        if (both := [said[f"{place} {port}"] for port in (PORT, USUAL_PORT)])
    }


def word(stage: Stage) -> str:
    """What the unfenced Pod says there."""
    return f"out{stage.token}"


def arrivals(stage: Stage, canary: Canary, asked: int) -> Attempt:
    """How many have come to the canary, beside those from a Pod without a fence."""
    visits = [v for v in stage.log(stage.apart, canary.pod).splitlines() if v.startswith("tcp ")]
    ours = [visit for visit in visits if word(stage) in visit]
    came = len(visits) - len(ours)
    what = f"{asked} requests for a canary: those that arrive there"
    return Attempt(what, "0", str(came), f"{len(ours)} without a fence", came == 0, bool(ours))
