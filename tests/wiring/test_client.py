"""What the client asks of an API server, and what it makes of the answers."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from anchorhold.cluster import client, paths
from wiring import fakeapi

POD = paths.pod("team-a", "one")


def make_pod(name: str = "one", **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team-a"},
    } | (fields)


async def refusal(kube: client.Client, path: str = POD) -> client.ApiError:
    """The error that a get of the path raises."""
    with pytest.raises(client.ApiError) as raised:
        await kube.get(path)
    return raised.value


async def test_get_returns_the_object(api: fakeapi.FakeApi, kube: client.Client):
    """Given a Pod, when it is read, then it is as the server has it."""
    stored = api.put(make_pod())

    assert await kube.get(POD) == stored


async def test_a_missing_object_is_an_error_that_says_which(kube: client.Client):
    """Given no Pod, when it is read, then the error holds status, reason and message."""
    error = await refusal(kube)

    assert (error.status, error.reason, error.retry_after) == (404, "NotFound", None)
    assert str(error) == '404 NotFound: pods "one" not found'


async def test_create_returns_what_the_server_made_of_it(api: fakeapi.FakeApi, kube: client.Client):
    """Given no Pod, when one is created, then it is returned with its uid."""
    created = await kube.create(paths.pods("team-a"), make_pod())

    assert created == api.get("pods", "team-a", "one")
    assert created["metadata"]["uid"]


async def test_create_refuses_fields_that_the_server_does_not_know(
    api: fakeapi.FakeApi, kube: client.Client
):
    """Given a server that may drop unknown fields, when we create, then we ask it not to."""
    await kube.create(paths.pods("team-a"), make_pod())

    assert api.requests[-1].query == {"fieldValidation": "Strict"}


async def test_a_second_create_is_a_conflict(api: fakeapi.FakeApi, kube: client.Client):
    """Given a Pod, when one of its name is created, then the reason is AlreadyExists."""
    api.put(make_pod())

    with pytest.raises(client.ApiError) as raised:
        await kube.create(paths.pods("team-a"), make_pod())

    assert (raised.value.status, raised.value.reason) == (409, "AlreadyExists")


async def test_patch_merges(api: fakeapi.FakeApi, kube: client.Client):
    """Given a spec, when patched, then given fields are set, null ones gone, others kept."""
    api.put(make_pod(spec={"kept": 1, "gone": 2, "set": 3}))

    patched = await kube.patch(POD, {"spec": {"gone": None, "set": 4}})

    assert patched["spec"] == {"kept": 1, "set": 4}
    assert api.objects("pods") == [patched]


async def test_status_is_patched_through_its_own_path(api: fakeapi.FakeApi, kube: client.Client):
    """Given a run, when its status is patched, then spec and generation stay as they are."""
    api.put(
        {
            "apiVersion": "anchorhold.dev/v1alpha1",
            "kind": "AgentRun",
            "metadata": {"namespace": "team-a", "name": "one"},
            "spec": {"task": "t"},
        }
    )

    patched = await kube.patch(
        paths.agent_run_status("team-a", "one"), {"spec": {"task": "x"}, "status": {"exitCode": 0}}
    )

    assert patched["spec"] == {"task": "t"}
    assert patched["status"] == {"exitCode": 0}
    assert patched["metadata"]["generation"] == 1
    assert api.calls == {("patch", "agentruns/status"): 1}


async def test_delete_removes_the_object_of_that_uid(api: fakeapi.FakeApi, kube: client.Client):
    """Given a Pod, when it is deleted by its uid, then it is gone."""
    uid = api.put(make_pod())["metadata"]["uid"]

    await kube.delete(POD, uid)

    assert api.objects("pods") == []
    assert api.graces == [None]


async def test_delete_of_what_is_gone_is_no_error(api: fakeapi.FakeApi, kube: client.Client):
    """Given no Pod, when it is deleted, then that was that."""
    await kube.delete(POD, "some-uid")

    assert api.calls == {("delete", "pods"): 1}


async def test_delete_spares_another_object_of_the_name(api: fakeapi.FakeApi, kube: client.Client):
    """Given a Pod made anew, when the old one is deleted, then the new one stays, without error."""
    api.put(make_pod())

    await kube.delete(POD, "uid-of-the-old-one")

    assert len(api.objects("pods")) == 1


async def test_delete_says_when_the_object_is_still_there(
    api: fakeapi.FakeApi, kube: client.Client
):
    """Given a conflict for another reason than the uid, when deleted, then that is an error."""
    uid = api.put(make_pod())["metadata"]["uid"]
    api.fail("delete", "pods", 409)

    with pytest.raises(client.ApiError) as raised:
        await kube.delete(POD, uid)

    assert raised.value.status == 409


async def test_delete_believes_that_what_conflicted_is_gone_by_now(
    api: fakeapi.FakeApi, kube: client.Client
):
    """Given a conflict over a Pod that then is gone, when deleted, then there is no error."""
    api.fail("delete", "pods", 409)

    await kube.delete(POD, "some-uid")

    assert api.calls["get", "pods"] == 1


async def test_delete_that_cannot_be_judged_is_an_error(api: fakeapi.FakeApi, kube: client.Client):
    """Given a conflict and a server that then fails, when deleted, then nothing is assumed."""
    api.fail("delete", "pods", 409)
    api.fail("get", "pods", 500)

    with pytest.raises(client.ApiError) as raised:
        await kube.delete(POD, "some-uid")

    assert raised.value.status == 500


@pytest.mark.parametrize("status", [403, 410, 422, 429, 500, 503])
async def test_each_refusal_is_an_api_error(api: fakeapi.FakeApi, kube: client.Client, status: int):
    """Given a server that refuses, when asked, then the error has its status, and no retry."""
    api.fail("get", "pods", status)

    error = await refusal(kube)

    assert error.status == status
    assert error.retry_after is None
    assert api.calls["get", "pods"] == 1


async def test_the_wait_that_the_server_asks_for_is_passed_on(
    api: fakeapi.FakeApi, kube: client.Client
):
    """Given a 429 with Retry-After, when asked, then the error holds the seconds."""
    api.fail("get", "pods", 429, retry_after=7)

    assert (await refusal(kube)).retry_after == 7.0


async def test_a_broken_connection_is_a_client_error(api: fakeapi.FakeApi, kube: client.Client):
    """Given a server that hangs up, when asked, then aiohttp says so.

    A create is used, for aiohttp repeats a get by itself.
    """
    api.fail("create", "pods", fakeapi.NO_ANSWER)

    with pytest.raises(aiohttp.ClientError):
        await kube.create(paths.pods("team-a"), make_pod())


async def test_a_write_may_be_done_though_its_answer_was_lost(
    api: fakeapi.FakeApi, kube: client.Client
):
    """Given an answer that is lost, when the write is repeated, then it is a conflict."""
    api.fail("create", "pods", fakeapi.NO_ANSWER, applied=True)

    with pytest.raises(aiohttp.ClientError):
        await kube.create(paths.pods("team-a"), make_pod())
    with pytest.raises(client.ApiError, match="409 AlreadyExists"):
        await kube.create(paths.pods("team-a"), make_pod())


async def test_a_slow_server_is_given_up(api: fakeapi.FakeApi, monkeypatch: pytest.MonkeyPatch):
    """Given a server that does not answer, when the time is up, then that is a TimeoutError."""
    monkeypatch.setattr(client, "REQUEST_SECONDS", 0.05)
    api.latency = 60
    async with client.session(client.Server(api.url)) as http:
        kube = client.Client(http, api.url)

        with pytest.raises(TimeoutError):
            await kube.get(POD)


async def test_every_answer_is_observed(api: fakeapi.FakeApi):
    """Given an observer, when calls are answered, then it learns verb, resource and status."""
    seen: list[tuple[str, str, int]] = []
    api.put(make_pod())
    async with client.session(client.Server(api.url)) as http:
        kube = client.Client(http, api.url, lambda *call: seen.append(call))
        await kube.get(POD)
        await refusal(kube, paths.pod("team-a", "two"))
        _ = [page async for page in kube.pages(paths.pods(), 500)]
        await kube.patch(f"{POD}/status", {"status": {}})

    assert seen == [
        ("get", "pods", 200),
        ("get", "pods", 404),
        ("list", "pods", 200),
        ("patch", "pods/status", 200),
    ]


async def test_the_token_is_shown_and_read_anew_each_time(api: fakeapi.FakeApi, tmp_path: Path):
    """Given a token that the kubelet replaces, when we go on, then the new one is shown."""
    token = tmp_path / "token"
    server = client.Server(api.url, token_file=str(token))
    api.put(make_pod())
    async with client.session(server) as http:
        kube = client.Client(http, api.url)
        token.write_text("first\n")
        await kube.get(POD)
        token.write_text("second\n")
        await kube.get(POD)

    shown = [call.request.headers["Authorization"] for call in api.requests]
    assert shown == ["Bearer first", "Bearer second"]


async def test_without_its_token_nothing_is_sent(api: fakeapi.FakeApi, tmp_path: Path):
    """Given no token, when we ask, then that is an OSError and the server hears nothing."""
    server = client.Server(api.url, token_file=str(tmp_path / "missing"))
    async with client.session(server) as http:
        with pytest.raises(OSError, match="No such file"):
            await client.Client(http, api.url).get(POD)

    assert api.requests == []


async def test_we_say_who_we_are_and_ask_for_plain_bytes(api: fakeapi.FakeApi, kube: client.Client):
    """Given any call, when it is sent, then it names us and wants nothing compressed."""
    api.put(make_pod())
    await kube.get(POD)

    headers = api.requests[-1].request.headers
    assert headers["User-Agent"] == "anchorhold-controller"
    assert headers["Accept-Encoding"] == "identity"


async def test_connections_are_bounded(api: fakeapi.FakeApi):
    """Given a session, when it is made, then its pool has a limit: aiohttp's own is unlimited."""
    async with client.session(client.Server(api.url)) as http:
        assert http.connector is not None
        assert http.connector.limit == 64


@pytest.fixture
async def proxy() -> AsyncIterator[str]:
    """The URL of something that is no API server: it redirects, and it answers in HTML."""

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/away"):
            raise web.HTTPFound("/api/v1/namespaces/team-a/pods/elsewhere")
        if request.path.endswith("/down"):
            return web.Response(status=503, text="<h1>no healthy upstream</h1>")
        return (
            web.json_response(["not", "an", "object"])
            if "list" in request.path
            else (web.Response(text="<h1>welcome</h1>"))
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        pytest.param("away", 302, "Found", id="a redirect is not followed, with our token"),
        pytest.param("down", 503, "Service Unavailable", id="a proxy that is down"),
        pytest.param("html", 502, "NotJson", id="a page instead of an object"),
        pytest.param("list", 502, "NotJson", id="JSON, but no object"),
    ],
)
async def test_what_is_no_api_server_is_not_believed(
    proxy: str, name: str, status: int, reason: str
):
    """Given a proxy in the way, when it answers, then that is an error of its status."""
    async with client.session(client.Server(proxy)) as http:
        error = await refusal(client.Client(http, proxy), paths.pod("team-a", name))

    assert (error.status, error.reason) == (status, reason)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate of 127.0.0.1, and its key beside it."""
    made = tmp_path / "tls.crt"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=api -addext subjectAltName=IP:127.0.0.1 -keyout {tmp_path}/tls.key -out {made}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)  # noqa: S603
    return made


@pytest.fixture
async def secure(certificate: Path) -> AsyncIterator[str]:
    """The URL of a server with that certificate."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, certificate.with_suffix(".key"))

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"secure": True})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_server_of_our_authority_is_believed(secure: str, certificate: Path):
    """Given the authority's certificate, when we connect, then the server answers."""
    async with client.session(client.Server(secure, ca_file=str(certificate))) as http:
        assert await client.Client(http, secure).get(POD) == {"secure": True}


async def test_a_server_of_another_authority_is_not_believed(secure: str):
    """Given a certificate of nobody we know, when we connect, then we send it nothing."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with client.session(client.Server(secure)) as http:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await client.Client(http, secure).get(POD)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        pytest.param(
            {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"},
            "https://10.0.0.1:6443",
            id="IPv4",
        ),
        pytest.param({"KUBERNETES_SERVICE_HOST": "fd00::1"}, "https://[fd00::1]:443", id="IPv6"),
    ],
)
def test_in_a_cluster_the_environment_says_where_the_server_is(environ: dict[str, str], url: str):
    """Given what the kubelet sets, when asked, then URL, authority and token are known."""
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"

    expected = client.Server(url, f"{folder}/ca.crt", f"{folder}/token")
    assert client.Server.in_cluster(environ) == expected


def test_outside_of_a_cluster_it_says_what_is_missing():
    """Given no cluster, when asked for its server, then one sentence says what to do."""
    with pytest.raises(LookupError, match="`KUBERNETES_SERVICE_HOST` must be set: run this in a"):
        client.Server.in_cluster({})
