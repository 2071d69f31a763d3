"""What runs in a cell before the agent: what it compares, what it tries, what it says."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from anchorhold.inside import boundary, netgate
from anchorhold.policy import digest

# As it is, before a test puts something in its place.
LINK_LOCAL = boundary.link_local
NOWHERE = {
    "KUBERNETES_SERVICE_HOST": "127.0.0.1",
    "KUBERNETES_SERVICE_PORT": "1",
    "ANCHORHOLD_NODE_ADDRESSES": "127.0.0.1",
    "ANCHORHOLD_CANARY": "127.0.0.1:1",
    "ANCHORHOLD_CLOSED": "",
    "ANCHORHOLD_GATEWAY": "",
    "ANCHORHOLD_TOKEN": "",
    "ANCHORHOLD_DIGESTS": "{}",
    "ANCHORHOLD_ISOLATION": "RuntimeClass",
}


@pytest.fixture
def listener() -> Iterator[str]:
    """Something that answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _alone_and_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own network is tried, and nobody waits."""
    monkeypatch.setattr(boundary, "link_local", set)
    monkeypatch.setattr(boundary, "heard", lambda *_: set())
    monkeypatch.setattr(netgate, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(netgate, "GATEWAY_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def kernel(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel says of the netgate's own process."""
    folder = tmp_path_factory.mktemp("proc")
    (folder / "uid_map").write_text("0 1234567 65536\n", encoding="ascii")
    (folder / "status").write_text("Name:\tx\nSeccomp:\t2\n", encoding="ascii")
    monkeypatch.setattr(netgate, "UID_MAP", folder / "uid_map")
    monkeypatch.setattr(netgate, "STATUS", folder / "status")
    return folder


def mount(folder: Path, **files: str) -> Path:
    """A ConfigMap as the kubelet mounts it: behind two links."""
    content = folder / "..2026_01_01"
    for name, text in files.items():
        path = content / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "..data").symlink_to(content.name)
    for path in content.iterdir():
        (folder / path.name).symlink_to(f"..data/{path.name}")
    return folder


def test_a_mounted_folder_has_the_digest_that_the_controller_reckons(tmp_path: Path):
    found = netgate.digest_of(mount(tmp_path, a="1", folder__b="ö"))

    assert found == digest.of_files({"a": b"1", "folder/b": "ö".encode()})


def test_a_plain_folder_has_it_too(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"1")

    assert netgate.digest_of(tmp_path) == digest.of_files({"a": b"1"})


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"a": "2"}, id="other content"),
        pytest.param({"b": "1"}, id="another name"),
        pytest.param({"a": "1", "b": ""}, id="one more file"),
        pytest.param({}, id="nothing"),
    ],
)
def test_an_agent_never_sees(tmp_path: Path, changed: dict[str, str]):
    folder = tmp_path / "settings"
    (folder / "..2026_01_01").mkdir(parents=True)
    digests = {str(mount(folder, **changed)): digest.of_files({"a": b"1"})}

    verdict = netgate.judge({**NOWHERE, "ANCHORHOLD_DIGESTS": json.dumps(digests)})

    assert verdict["reason"] == "InputMissing"
    assert verdict["message"] == f"the content of '{folder}' is not what was granted"


def test_an_agent_starts_where_all_is_as_granted_and_nothing_answers(tmp_path: Path):
    digests = {str(mount(tmp_path, a="1")): digest.of_files({"a": b"1"})}

    verdict = netgate.judge({**NOWHERE, "ANCHORHOLD_DIGESTS": json.dumps(digests)})

    assert verdict == {"reason": "", "message": "", "openMilliseconds": 0, "filtered": True}


@pytest.mark.parametrize("who", ["ANCHORHOLD_CANARY", "ANCHORHOLD_CLOSED"])
def test_an_agent_never_starts_where_something_answers(listener: str, who: str):
    verdict = netgate.judge({**NOWHERE, who: listener})

    assert verdict["reason"] == "BoundaryOpen"
    assert verdict["message"] == f"the cell could reach {listener}"
    assert verdict["openMilliseconds"] > 0


def test_an_agent_starts_once_the_fence_is_up(listener: str, monkeypatch: pytest.MonkeyPatch):
    """Something answers in the first round, and never again."""
    answers = iter([[listener]])
    monkeypatch.setattr(netgate, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(boundary, "answering", lambda _: next(answers, []))

    verdict = netgate.judge(NOWHERE)

    assert verdict["reason"] == ""
    assert verdict["openMilliseconds"] > 0


NO_NAMESPACE = "`hostUsers: false`: there is no user namespace"
NO_FILTER = "`seccompProfile`: there is no filter of system calls"


@pytest.mark.parametrize(
    ("isolation", "uid_map", "mode", "ignored"),
    [
        pytest.param("UserNamespace", "0 1234567 65536", 2, "", id="ignores nothing"),
        pytest.param("UserNamespace", "0 0 4294967295", 2, NO_NAMESPACE, id="knows no users"),
        pytest.param("UserNamespace", "0 1234567 65536", 0, NO_FILTER, id="filters nothing"),
        pytest.param("RuntimeClass", "0 0 4294967295", 0, "", id="brings its own kernel"),
    ],
)
def test_an_agent_starts_under_a_runtime_that(
    isolation: str, uid_map: str, mode: int, ignored: str, kernel: Path
):
    (kernel / "uid_map").write_text(f"{uid_map}\n", encoding="ascii")
    (kernel / "status").write_text(f"Name:\tx\nSeccomp:\t{mode}\n", encoding="ascii")

    verdict = netgate.judge({**NOWHERE, "ANCHORHOLD_ISOLATION": isolation})

    if ignored:
        assert verdict["reason"] == "BoundaryOpen"
        assert verdict["message"] == f"the node's container runtime ignores {ignored}"
    else:
        assert (verdict["reason"], verdict["filtered"]) == ("", mode == 2)


@pytest.mark.parametrize(("what", "code"), [("127.0.0.1:1", 0), ("listener", 1)])
def test_a_netgate_says_what_it_saw_and_ends(
    what: str, code: int, listener: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(netgate, "LAST_WORD", tmp_path / "word")
    for name, value in {**NOWHERE, "ANCHORHOLD_CANARY": what.replace("listener", listener)}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        netgate.main()

    assert ended.value.code == code
    said = json.loads((tmp_path / "word").read_text(encoding="ascii"))
    assert bool(said["reason"]) == bool(code)


class Gateway(http.server.BaseHTTPRequestHandler):
    """Knows one token, and that only when it is asked for the second time."""

    shown: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.shown.append(self.headers["Authorization"])
        known = self.shown.count("Bearer known") > 1
        self.send_response(200 if known and self.path == "/" else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def gateway() -> Iterator[str]:
    """A gateway that learns of a cell a moment late."""
    Gateway.shown.clear()
    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_an_agent_starts_once_the_gateway_knows_its_token(
    gateway: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(netgate, "GATEWAY_SECONDS", 60.0)
    environment = {**NOWHERE, "ANCHORHOLD_GATEWAY": gateway, "ANCHORHOLD_TOKEN": "known"}

    assert netgate.judge(environment)["reason"] == ""
    assert Gateway.shown == ["Bearer known"] * 2


@pytest.mark.parametrize("where", ["a gateway", "nobody"])
def test_an_agent_that_the_gateway_does_not_know_never_starts(gateway: str, where: str):
    there = gateway if where == "a gateway" else "127.0.0.1:1"
    environment = {**NOWHERE, "ANCHORHOLD_GATEWAY": there, "ANCHORHOLD_TOKEN": "unknown"}

    verdict = netgate.judge(environment)

    assert verdict["reason"] == "GatewayUnavailable"
    assert verdict["message"] == "the gateway did not answer, or did not know the cell"


def test_all_that_the_environment_names_is_tried():
    environment = {
        **NOWHERE,
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "ANCHORHOLD_NODE_ADDRESSES": "192.0.2.7,2001:db8::7",
        "ANCHORHOLD_CANARY": "10.96.0.20:8443",
        "ANCHORHOLD_CLOSED": "192.0.2.10:6443 [2001:db8::10]:6443",
    }

    assert boundary.addresses(environment) == [
        ("10.96.0.1", 443),
        ("192.0.2.7", 6443),
        ("192.0.2.7", 10250),
        ("2001:db8::7", 6443),
        ("2001:db8::7", 10250),
        ("10.96.0.20", 8443),
        ("192.0.2.10", 6443),
        ("2001:db8::10", 6443),
    ]


@pytest.mark.parametrize("missing", sorted(NOWHERE))
def test_a_netgate_that_is_not_told_all_lets_nobody_in(missing: str):
    with pytest.raises(KeyError):
        netgate.judge({name: value for name, value in NOWHERE.items() if name != missing})


def test_a_link_local_address_is_made_of_the_hardware_address():
    assert boundary.from_hardware("52:74:f2:b1:a8:7f") == "fe80::5074:f2ff:feb1:a87f"


NEIGHBOURS = """\
IP address       HW type     Flags       HW address            Mask     Device
10.244.0.1       0x1         0x2         52:74:f2:b1:a8:7f     *        eth0
10.244.0.9       0x1         0x0         00:00:00:00:00:00     *        eth0
"""


@pytest.mark.parametrize(
    ("table", "found"),
    [(NEIGHBOURS, {"fe80::5074:f2ff:feb1:a87f%eth0"}), (None, set())],
    ids=["has a table of them", "has none"],
)
def test_neighbours_are_tried_at_their_link_local_addresses_where_the_kernel(
    table: str | None, found: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whose hardware address is not known yet is nobody."""
    if table is not None:
        (tmp_path / "arp").write_text(table, encoding="ascii")
    monkeypatch.setattr(boundary, "ARP_TABLE", tmp_path / "arp")

    assert LINK_LOCAL() == found


def test_whoever_answers_at_a_link_local_address_counts(
    listener: str, monkeypatch: pytest.MonkeyPatch
):
    port = int(listener.rpartition(":")[2])
    monkeypatch.setattr(boundary, "link_local", lambda: {"127.0.0.1"})
    monkeypatch.setattr(boundary, "NODE_PORTS", (port,))

    answered = boundary.answering({**NOWHERE, "ANCHORHOLD_NODE_ADDRESSES": "127.0.0.2"})

    assert listener in answered


def test_whoever_answers_a_message_to_all_nodes_counts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boundary, "heard", lambda *_: {"fe80::1%eth0"})

    assert boundary.answering(NOWHERE) == ["fe80::1%eth0 by multicast"]
