"""The emulated API server keeps the rules of a real one; else the other tests prove nothing."""

import asyncio
import json
from typing import Any

import aiohttp
import kopf
import pytest

from anchorhold.cluster import client, paths
from wiring import fakeapi, fakestore


def make_run(name: str = "one", **metadata: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"namespace": "team-a", "name": name, **metadata},
        "spec": {"task": "t"},
    }


def make_pod(name: str = "cell", owner: str = "", **metadata: Any) -> dict[str, Any]:  # noqa: ANN401
    owners = {"ownerReferences": [{"kind": "AgentRun", "uid": owner}]} if owner else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "team-a", "name": name, **owners, **metadata},
    }


async def test_the_server_alone_writes_uid_version_generation_and_time(
    api: fakeapi.FakeApi, kube: client.Client
):
    """Given forged metadata and status, when created, then they are the server's own."""
    forged = make_run(uid="mine", generation=9, resourceVersion="7", creationTimestamp="never")

    created = await kube.create(paths.agent_runs("team-a"), {**forged, "status": {"exitCode": 0}})

    metadata = created["metadata"]
    assert metadata["uid"] != "mine"
    assert metadata["generation"] == 1
    assert metadata["creationTimestamp"] == api.store.now
    assert metadata["resourceVersion"] == str(api.store.version)
    assert "status" not in created


async def test_the_generation_follows_the_spec_alone(api: fakeapi.FakeApi, kube: client.Client):
    """Given a run, when status, labels and spec change, then only the last is a generation."""
    api.put(make_run())
    path = paths.agent_run("team-a", "one")

    labelled = await kube.patch(path, {"metadata": {"labels": {"a": "b"}}})
    told = await kube.patch(f"{path}/status", {"status": {"exitCode": 0}})
    changed = await kube.patch(path, {"spec": {"cancel": True}, "status": {"exitCode": 1}})

    generations = [item["metadata"]["generation"] for item in (labelled, told, changed)]
    versions = [int(item["metadata"]["resourceVersion"]) for item in (labelled, told, changed)]
    assert generations == [1, 1, 2]
    assert versions == sorted(set(versions))
    assert changed["status"] == {"exitCode": 0}


async def test_a_patch_that_changes_nothing_is_no_write(api: fakeapi.FakeApi, kube: client.Client):
    """Given a run, when patched with what it has, then its version stays."""
    before = api.put(make_run())

    assert await kube.patch(paths.agent_run("team-a", "one"), {"spec": {"task": "t"}}) == before


async def test_a_patch_of_an_old_version_is_a_conflict(api: fakeapi.FakeApi, kube: client.Client):
    """Given a run that has changed, when patched as it was, then that is a conflict."""
    old = api.put(make_run())
    api.patch("agentruns", "team-a", "one", {"metadata": {"labels": {"a": "b"}}})
    version = {"resourceVersion": old["metadata"]["resourceVersion"]}

    with pytest.raises(client.ApiError, match="409 Conflict"):
        await kube.patch(paths.agent_run("team-a", "one"), {"metadata": version})


async def test_what_is_stored_is_not_what_was_given(api: fakeapi.FakeApi):
    """Given an object that was put, when the test changes its own, then the server's stays."""
    given = make_run()
    api.put(given)
    given["spec"]["task"] = "other"
    api.objects("agentruns")[0]["spec"]["task"] = "other"

    assert api.objects("agentruns")[0]["spec"]["task"] == "t"


async def test_a_finalizer_holds_what_is_deleted(api: fakeapi.FakeApi):
    """Given a finalizer, when deleted, then the run is marked, and goes with its finalizer."""
    api.put(make_run(finalizers=["x/y"]))
    api.delete("agentruns", "team-a", "one")
    (marked,) = api.objects("agentruns")

    api.patch("agentruns", "team-a", "one", {"metadata": {"finalizers": None}})

    assert marked["metadata"]["deletionTimestamp"] == api.store.now
    assert api.objects("agentruns") == []


async def test_a_lingering_pod_is_marked_and_then_ended(api: fakeapi.FakeApi):
    """Given Pods that take their time, when deleted twice, then marked once, until it ends."""
    api.linger("pods")
    api.put(make_pod())
    api.delete("pods", "team-a", "cell")
    marked = api.get("pods", "team-a", "cell")
    api.delete("pods", "team-a", "cell")
    again = api.get("pods", "team-a", "cell")

    api.remove("pods", "team-a", "cell")

    assert marked == again
    assert marked is not None
    assert "deletionTimestamp" in marked["metadata"]
    assert api.objects("pods") == []


async def test_what_a_deleted_run_owned_is_collected(api: fakeapi.FakeApi):
    """Given two runs with a Pod each, when one is deleted, then its Pod goes and no other."""
    one, two = api.put(make_run("one")), api.put(make_run("two"))
    api.put(make_pod("cell-1", one["metadata"]["uid"]))
    api.put(make_pod("cell-2", two["metadata"]["uid"]))

    api.delete("agentruns", "team-a", "one")

    assert [pod["metadata"]["name"] for pod in api.objects("pods")] == ["cell-2"]


async def test_without_a_collector_orphans_stay(api: fakeapi.FakeApi):
    """Given a collector that is down, when a run is deleted, then its Pod stays."""
    api.store.collects_garbage = False
    run = api.put(make_run())
    api.put(make_pod("cell", run["metadata"]["uid"]))

    api.delete("agentruns", "team-a", "one")

    assert len(api.objects("pods")) == 1


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("a", ["both", "one"]),
        ("!a", ["none"]),
        ("a=1", ["one"]),
        ("a==2,b=2", ["both"]),
        ("a!=1", ["both", "none"]),
    ],
)
async def test_a_list_is_selected_by_labels(
    api: fakeapi.FakeApi, kube: client.Client, selector: str, names: list[str]
):
    """Given labelled Pods, when listed by a selector, then those it selects are shown."""
    api.put(make_pod("one", labels={"a": "1"}))
    api.put(make_pod("both", labels={"a": "2", "b": "2"}))
    api.put(make_pod("none"))

    found = await kube.get(paths.pods(), labelSelector=selector)

    assert sorted(item["metadata"]["name"] for item in found["items"]) == names


async def test_a_selector_it_does_not_know_is_refused(kube: client.Client):
    """Given a set-based selector, when listed, then it is refused rather than ignored."""
    with pytest.raises(client.ApiError, match="400 BadRequest"):
        await kube.get(paths.pods(), labelSelector="a in (1)")
    assert fakestore.selects("", make_pod())


async def test_a_list_is_of_one_namespace_or_of_all(api: fakeapi.FakeApi, kube: client.Client):
    """Given Pods in two namespaces, when one is listed, then the other's are not shown."""
    api.put(make_pod("here"))
    api.put(make_pod("there", namespace="team-b"))

    here = await kube.get(paths.pods("team-a"))
    everywhere = await kube.get(paths.pods())

    assert [item["metadata"]["name"] for item in here["items"]] == ["here"]
    assert len(everywhere["items"]) == 2


async def test_items_of_a_built_in_list_do_not_repeat_their_kind(
    api: fakeapi.FakeApi, kube: client.Client
):
    """Given a Pod and a run, when listed, then only the custom resource names its kind."""
    api.put(make_pod())
    api.put(make_run())

    pods = await kube.get(paths.pods())
    runs = await kube.get(paths.agent_runs())

    assert "kind" not in pods["items"][0]
    assert runs["items"][0]["kind"] == "AgentRun"


async def test_the_pages_of_a_list_are_of_one_moment(api: fakeapi.FakeApi, kube: client.Client):
    """Given a list begun, when a Pod is created, then the later pages do not show it."""
    for name in ("a", "b", "c"):
        api.put(make_pod(name))
    pages = kube.pages(paths.pods(), 2)
    first = await anext(pages)
    api.put(make_pod("d"))

    second = await anext(pages)
    await pages.aclose()

    assert len(first["items"]) == 2
    assert [item["metadata"]["name"] for item in second["items"]] == ["c"]
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({**make_pod(), "apiVersion": "v2"}, id="version"),
        pytest.param({**make_pod(), "kind": "Secret"}, id="kind"),
        pytest.param(make_pod(namespace="team-b"), id="namespace"),
    ],
)
async def test_a_body_that_contradicts_its_path_is_refused(
    kube: client.Client, body: dict[str, Any]
):
    """Given a body of another place, when posted, then it is refused."""
    with pytest.raises(client.ApiError, match="400 BadRequest"):
        await kube.create(paths.pods("team-a"), body)


async def test_events_may_leave_their_name_to_the_server(api: fakeapi.FakeApi, kube: client.Client):
    """Given a generateName, when posted twice, then there are two names."""
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "run-"}}

    await kube.create(paths.events("team-a"), event)
    await kube.create(paths.events("team-a"), event)

    assert len({item["metadata"]["name"] for item in api.objects("events")}) == 2


async def test_a_watch_from_nowhere_begins_with_all_there_is(
    api: fakeapi.FakeApi, kube: client.Client
):
    """Given a Pod, when watched without a version, then it comes as ADDED."""
    api.put(make_pod())
    events = kube.watch(paths.pods())

    event = await anext(events)
    await events.aclose()

    assert event["type"] == "ADDED"


async def test_a_watch_ends_when_its_time_is_up(kube: client.Client):
    """Given a watch of no seconds, when followed, then it ends without an event."""
    assert [event async for event in kube.watch(paths.pods(), timeoutSeconds="0")] == []


async def test_a_deleted_event_has_a_version_of_its_own(api: fakeapi.FakeApi, kube: client.Client):
    """Given a watch from the last version, when a Pod is deleted, then a newer version says so."""
    stored = api.put(make_pod())
    version = stored["metadata"]["resourceVersion"]
    api.delete("pods", "team-a", "cell")
    events = kube.watch(paths.pods(), resourceVersion=version)

    seen = [await anext(events), await anext(events)]
    await events.aclose()

    assert [event["type"] for event in seen] == ["MODIFIED", "DELETED"]
    assert int(seen[1]["object"]["metadata"]["resourceVersion"]) > int(version)


async def test_a_fault_strikes_only_what_it_names(api: fakeapi.FakeApi, kube: client.Client):
    """Given a fault that skips one get of Pods, when others are called, then they are served."""
    api.put(make_pod())
    api.put(make_run())
    api.fail("get", "pods", 500, skip=1)
    pod, run = paths.pod("team-a", "cell"), paths.agent_run("team-a", "one")

    await kube.get(pod)
    await kube.get(run)
    with pytest.raises(client.ApiError, match="500"):
        await kube.get(pod)
    await kube.get(pod)

    assert api.calls == {("get", "pods"): 3, ("get", "agentruns"): 1}


async def test_other_patches_than_merge_patch_are_refused(api: fakeapi.FakeApi):
    """Given a JSON patch, when sent, then it is refused rather than misread."""
    api.put(make_pod())
    async with aiohttp.ClientSession() as http:
        headers = {"Content-Type": "application/json-patch+json"}
        url = f"{api.url}{paths.pod('team-a', 'cell')}"
        async with http.patch(url, data=json.dumps([]), headers=headers) as response:
            assert response.status == 415


async def test_waiting_in_vain_is_an_error(api: fakeapi.FakeApi):
    """Given what never comes true, when waited for, then that is a TimeoutError."""
    with pytest.raises(TimeoutError):
        await api.wait(lambda: False, timeout=0.01)


async def kopf_operator(url: str, seen: list[tuple[str | None, str | None]], stop: asyncio.Event):
    """Kopf, set up as our shell does it, remembering what it is told."""
    registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.posting.enabled = False

    @kopf.on.login(registry=registry)
    async def login(**_: object) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=url)

    @kopf.on.event("anchorhold.dev", "v1alpha1", "agentruns", registry=registry)
    async def event(type: str | None, name: str | None, **_: object) -> None:  # noqa: A002
        seen.append((type, name))

    await kopf.operator(registry=registry, settings=settings, clusterwide=True, stop_flag=stop)


async def test_kopf_watches_it_as_a_real_server(api: fakeapi.FakeApi):
    """Given Kopf, when runs come and go, then it is told, and by itself writes nothing."""
    seen: list[tuple[str | None, str | None]] = []
    stop = asyncio.Event()
    api.put(make_run("one"))
    operator = asyncio.create_task(kopf_operator(api.url, seen, stop))
    await api.wait(lambda: api.watching("agentruns"))
    api.put(make_run("two"))
    api.delete("agentruns", "team-a", "one")
    await api.wait(lambda: ("DELETED", "one") in seen)
    stop.set()
    await operator

    assert (None, "one") in seen
    assert ("ADDED", "two") in seen
    assert {verb for verb, _ in api.calls} == {"list", "watch"}
