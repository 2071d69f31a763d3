"""The rules of list and watch, each against a server that breaks them."""

import asyncio
import logging
import random
from contextlib import suppress
from typing import Any

import pytest

from anchorhold.cluster import backoff, client, informer, paths
from wiring import fakeapi

Seen = tuple[informer.Key, str | None, str | None]


def make_pod(name: str, phase: str = "Pending", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "team-a", "name": name, "labels": labels},
        "status": {"phase": phase},
    }


def chance() -> random.Random:
    return random.Random(1)  # noqa: S311


def phase_of(pod: dict[str, Any]) -> str:
    return str(pod["status"]["phase"])


class Followed:
    """The informer under test, and what it told."""

    def __init__(self, kube: client.Client, selector: str | None = None) -> None:
        self.seen: list[Seen] = []
        self.informer = informer.Informer(kube, paths.pods(), phase_of, self.notify, selector)

    def notify(self, key: informer.Key, old: str | None, new: str | None) -> None:
        self.seen.append((key, old, new))

    @property
    def phases(self) -> dict[str, str]:
        return {name: phase for (_, name), phase in self.informer.store.items()}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informer, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def pods(kube: client.Client) -> Followed:
    return Followed(kube)


@pytest.fixture
async def watched(api: fakeapi.FakeApi, pods: Followed, start: fakeapi.Start) -> Followed:
    """Two Pods that are listed and watched."""
    api.put(make_pod("one"))
    api.put(make_pod("two"))
    start(pods.informer.run(chance()))
    await api.wait(lambda: api.watching("pods"))
    pods.seen.clear()
    return pods


async def test_a_first_list_fills_the_store_and_tells_of_each_object(
    api: fakeapi.FakeApi, pods: Followed, start: fakeapi.Start
):
    """Given a Pod, when the informer starts, then the Pod is stored and told of as new."""
    api.put(make_pod("one", "Running"))

    start(pods.informer.run(chance()))
    await pods.informer.synced.wait()

    assert pods.informer.store == {("team-a", "one"): "Running"}
    assert pods.seen == [(("team-a", "one"), None, "Running")]
    assert pods.informer.relists == 0


async def test_an_object_without_a_namespace_has_none_in_its_key(
    api: fakeapi.FakeApi, kube: client.Client, start: fakeapi.Start
):
    """Given a Namespace, when it is listed, then its key is its name alone."""
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}})
    namespaces = informer.Informer(kube, paths.namespaces(), str, lambda *_: None)

    start(namespaces.run(chance()))
    await namespaces.synced.wait()

    assert list(namespaces.store) == [(None, "team-a")]


async def test_a_long_list_is_read_in_pages(
    api: fakeapi.FakeApi, pods: Followed, start: fakeapi.Start, monkeypatch: pytest.MonkeyPatch
):
    """Given five Pods and pages of two, when listed, then three calls bring them all."""
    monkeypatch.setattr(informer, "PAGE", 2)
    for number in range(5):
        api.put(make_pod(f"pod-{number}"))

    start(pods.informer.run(chance()))
    await pods.informer.synced.wait()

    assert len(pods.informer.store) == 5
    assert api.calls["list", "pods"] == 3


async def test_it_is_not_synced_before_the_last_page(
    api: fakeapi.FakeApi, pods: Followed, start: fakeapi.Start, monkeypatch: pytest.MonkeyPatch
):
    """Given a second page that fails for ever, when listed, then the store is never called true."""
    monkeypatch.setattr(informer, "PAGE", 1)
    api.put(make_pod("one"))
    api.put(make_pod("two"))
    api.fail("list", "pods", 503, skip=1, times=1000)

    start(pods.informer.run(chance()))
    await api.wait(lambda: api.calls["list", "pods"] >= 4)

    assert not pods.informer.synced.is_set()


async def test_changes_arrive_through_the_watch(api: fakeapi.FakeApi, watched: Followed):
    """Given a watch, when Pods come, change and go, then each is told of, in order."""
    api.put(make_pod("three"))
    api.patch_status("pods", "team-a", "one", {"phase": "Running"})
    api.delete("pods", "team-a", "two")
    await api.wait(lambda: len(watched.seen) == 3)

    assert watched.seen == [
        (("team-a", "three"), None, "Pending"),
        (("team-a", "one"), "Pending", "Running"),
        (("team-a", "two"), "Pending", None),
    ]
    assert watched.phases == {"one": "Running", "three": "Pending"}
    assert api.calls["list", "pods"] == 1


async def test_a_change_of_what_is_not_kept_is_not_told(api: fakeapi.FakeApi, watched: Followed):
    """Given `keep` that keeps the phase, when a label changes, then nothing is told."""
    api.patch("pods", "team-a", "one", {"metadata": {"labels": {"a": "b"}}})
    api.patch_status("pods", "team-a", "two", {"phase": "Running"})
    await api.wait(lambda: watched.seen)

    assert watched.seen == [(("team-a", "two"), "Pending", "Running")]


async def test_the_server_does_the_selecting(
    api: fakeapi.FakeApi, kube: client.Client, start: fakeapi.Start
):
    """Given a selector, when a Pod loses its label, then it leaves the store like a deleted one."""
    pods = Followed(kube, "anchorhold.dev/run")
    api.put(make_pod("ours", **{"anchorhold.dev/run": "u"}))
    api.put(make_pod("theirs"))
    start(pods.informer.run(chance()))
    await api.wait(lambda: api.watching("pods"))
    listed = dict(pods.phases)

    api.patch("pods", "team-a", "ours", {"metadata": {"labels": {"anchorhold.dev/run": None}}})
    await api.wait(lambda: len(pods.seen) == 2)

    assert listed == {"ours": "Pending"}
    assert pods.seen[1] == (("team-a", "ours"), "Pending", None)


@pytest.mark.parametrize("end", ["close_watches", "cut_watches"])
async def test_an_ended_watch_goes_on_where_it_ended(
    api: fakeapi.FakeApi, watched: Followed, end: str
):
    """Given a watch, when it ends, then what happened meanwhile arrives without another list."""
    getattr(api, end)("pods")
    api.patch_status("pods", "team-a", "one", {"phase": "Running"})
    await api.wait(lambda: watched.phases["one"] == "Running")
    await api.wait(lambda: api.watching("pods"))

    assert api.calls["list", "pods"] == 1
    assert api.calls["watch", "pods"] >= 2


async def test_a_bookmark_moves_the_version_to_go_on_from(api: fakeapi.FakeApi, watched: Followed):
    """Given a bookmark, when all history before it is dropped, then the watch still goes on."""
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}})
    watched.informer.last_activity = 0.0
    api.bookmark("pods")
    await api.wait(lambda: watched.informer.last_activity > 0)
    api.compact()

    api.close_watches("pods")
    api.put(make_pod("three"))
    await api.wait(lambda: "three" in watched.phases)

    assert watched.informer.relists == 0
    assert api.calls["list", "pods"] == 1


async def test_without_a_bookmark_the_version_is_too_old(api: fakeapi.FakeApi, watched: Followed):
    """Given no bookmark, when the history is dropped, then only another list helps."""
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}})
    api.compact()

    api.close_watches("pods")
    await api.wait(lambda: api.calls["list", "pods"] == 2)

    assert watched.informer.relists == 1


@pytest.mark.parametrize("code", [410, 500])
async def test_an_error_event_leads_to_a_list_that_finds_what_was_deleted_unseen(
    api: fakeapi.FakeApi, watched: Followed, code: int
):
    """Given a Pod that was deleted in silence, when the watch errs, then its end is told."""
    api.vanish("pods", "team-a", "one")

    api.break_watches("pods", code)
    await api.wait(lambda: watched.seen)

    assert watched.seen == [(("team-a", "one"), "Pending", None)]
    assert watched.phases == {"two": "Pending"}
    assert watched.informer.relists == 1


@pytest.mark.parametrize("code", [410, 403, 500, 503, 504])
async def test_a_refused_watch_leads_to_a_list(api: fakeapi.FakeApi, watched: Followed, code: int):
    """Given a silent delete, when the next watch is refused, then a list finds it.

    504 is what a server says that was restored from a backup: our version lies in its future.
    """
    api.vanish("pods", "team-a", "one")
    api.fail("watch", "pods", code)

    api.cut_watches("pods")
    await api.wait(lambda: "one" not in watched.phases)

    assert watched.informer.relists == 1


async def test_an_overloaded_server_is_not_asked_for_a_list(
    api: fakeapi.FakeApi, watched: Followed
):
    """Given a 429, when it is over, then the watch goes on without a list."""
    api.fail("watch", "pods", 429)

    api.cut_watches("pods")
    api.put(make_pod("three"))
    await api.wait(lambda: "three" in watched.phases)

    assert watched.informer.relists == 0
    assert api.calls["list", "pods"] == 1


async def test_an_overloaded_server_is_left_alone_as_long_as_it_asks(
    api: fakeapi.FakeApi, kube: client.Client, watched: Followed, start: fakeapi.Start
):
    """Given a 429 that asks for an hour, when others were tried again, then the Pods were not."""
    api.fail("watch", "pods", 429, retry_after=3600)
    api.cut_watches("pods")
    await api.wait(lambda: api.calls["watch", "pods"] == 2)
    api.fail("list", "namespaces", 429, times=4)

    others = informer.Informer(kube, paths.namespaces(), str, lambda *_: None)
    start(others.run(chance()))
    await others.synced.wait()

    assert api.calls["list", "namespaces"] == 5
    assert api.calls["watch", "pods"] == 2


async def test_pauses_grow_until_something_is_heard(
    api: fakeapi.FakeApi, pods: Followed, start: fakeapi.Start, monkeypatch: pytest.MonkeyPatch
):
    """Given three failures, when an event came and the watch is cut, then it counts from one."""
    failures: list[int] = []
    monkeypatch.setattr(backoff, "seconds", lambda count, *_: failures.append(count) or 0.0)
    api.fail("list", "pods", 500, times=3)
    start(pods.informer.run(chance()))
    await api.wait(lambda: api.watching("pods"))
    grown = list(failures)
    api.put(make_pod("one"))
    await api.wait(lambda: pods.seen)

    api.cut_watches("pods")
    await api.wait(lambda: api.calls["watch", "pods"] == 2)

    assert grown == [1, 2, 3]
    assert failures == [1, 2, 3, 1]


async def test_an_expired_page_begins_the_list_anew(
    api: fakeapi.FakeApi, pods: Followed, start: fakeapi.Start, monkeypatch: pytest.MonkeyPatch
):
    """Given a continue token that expires, when listed, then all is listed from the start."""
    monkeypatch.setattr(informer, "PAGE", 1)
    api.put(make_pod("one"))
    api.put(make_pod("two"))
    api.fail("list", "pods", 410, skip=1)

    start(pods.informer.run(chance()))
    await pods.informer.synced.wait()

    assert set(pods.phases) == {"one", "two"}
    assert api.calls["list", "pods"] == 4


async def test_an_object_listed_on_an_early_page_survives_a_list_that_broke_off(
    api: fakeapi.FakeApi, watched: Followed, monkeypatch: pytest.MonkeyPatch
):
    """Given a relist that fails after a page, when it succeeds, then nothing was dropped."""
    monkeypatch.setattr(informer, "PAGE", 1)
    api.fail("list", "pods", 500, skip=1)

    api.break_watches("pods", 410)
    await api.wait(lambda: watched.informer.relists == 2 and api.watching("pods"))

    assert watched.seen == []
    assert set(watched.phases) == {"one", "two"}


@pytest.mark.parametrize("status", [fakeapi.NO_ANSWER, 403, 404, 429, 500, 503])
async def test_a_failing_first_list_is_tried_again(
    api: fakeapi.FakeApi, pods: Followed, start: fakeapi.Start, status: int
):
    """Given a server that fails twice, when the informer starts, then it is synced in the end."""
    api.put(make_pod("one"))
    api.fail("list", "pods", status, times=2)

    start(pods.informer.run(chance()))
    await pods.informer.synced.wait()

    assert set(pods.phases) == {"one"}
    assert api.calls["list", "pods"] == 3


async def test_each_failure_is_logged_once(
    api: fakeapi.FakeApi, pods: Followed, start: fakeapi.Start, caplog: pytest.LogCaptureFixture
):
    """Given a server that fails twice, when the informer starts, then two warnings say why."""
    api.fail("list", "pods", 503, times=2)

    with caplog.at_level(logging.WARNING, "anchorhold"):
        start(pods.informer.run(chance()))
        await pods.informer.synced.wait()

    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["/api/v1/pods: 503 ServiceUnavailable: an emulated fault"] * 2


async def test_a_silent_watch_is_given_up(
    api: fakeapi.FakeApi, pods: Followed, start: fakeapi.Start, monkeypatch: pytest.MonkeyPatch
):
    """Given a watch in which not even a bookmark comes, when silent, then another is opened."""
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.05)

    start(pods.informer.run(chance()))
    await api.wait(lambda: api.calls["watch", "pods"] >= 3)

    assert api.calls["list", "pods"] == 1


async def test_an_event_may_be_longer_than_any_buffer(api: fakeapi.FakeApi, watched: Followed):
    """Given a Pod of two megabytes, when it is created, then the watch brings it."""
    big = make_pod("big")
    big["metadata"]["annotations"] = {"text": "x" * 2_000_000}

    api.put(big)
    await api.wait(lambda: "big" in watched.phases)

    assert api.calls["list", "pods"] == 1


async def test_an_event_may_come_in_pieces(api: fakeapi.FakeApi, watched: Followed):
    """Given an event that is split within a character, when both parts came, then it counts."""
    line = (
        b'{"type": "ADDED", "object": {"metadata": {"namespace": "team-a", "name": "three", '
        b'"resourceVersion": "9999"}, "status": {"phase": "Gr\xc3\xbcn"}}}\n'
    )
    split = line.index(b"\xbc")

    api.send_raw("pods", line[:split])
    await asyncio.sleep(0)
    api.send_raw("pods", line[split:])
    await api.wait(lambda: watched.seen)

    assert watched.seen == [(("team-a", "three"), None, "Grün")]


async def test_the_end_of_an_unknown_object_is_not_told(api: fakeapi.FakeApi, watched: Followed):
    """Given a DELETED event of a Pod never seen, when it comes, then nothing is told of it."""
    api.send_raw(
        "pods",
        b'{"type": "DELETED", "object": {"metadata": {"namespace": "team-a", "name": "three", '
        b'"resourceVersion": "9998"}}}\n',
    )

    api.put(make_pod("four"))
    await api.wait(lambda: watched.seen)

    assert watched.seen == [(("team-a", "four"), None, "Pending")]


async def test_half_an_event_is_not_an_event(api: fakeapi.FakeApi, watched: Followed):
    """Given a watch that ends within a line, when it goes on, then the line is forgotten."""
    api.send_raw("pods", b'{"type": "DELETED", "object": {"metadata": {"namesp')

    api.close_watches("pods")
    api.put(make_pod("three"))
    await api.wait(lambda: "three" in watched.phases)

    assert set(watched.phases) == {"one", "two", "three"}
    assert watched.informer.relists == 0


async def test_what_is_not_json_leads_to_a_list(api: fakeapi.FakeApi, watched: Followed):
    """Given a proxy that writes into the stream, when read, then the store is listed anew."""
    api.vanish("pods", "team-a", "one")

    api.send_raw("pods", b"upstream connect error\n")
    await api.wait(lambda: "one" not in watched.phases)

    assert watched.informer.relists == 1


async def test_a_stale_list_is_healed_by_the_watch_that_follows_it(
    api: fakeapi.FakeApi, pods: Followed, start: fakeapi.Start
):
    """Given a list from before a change, when watched from there, then the change arrives."""
    api.put(make_pod("one"))
    api.stale("pods")
    api.patch_status("pods", "team-a", "one", {"phase": "Running"})

    start(pods.informer.run(chance()))
    await api.wait(lambda: pods.phases.get("one") == "Running")

    assert [new for _, _, new in pods.seen] == ["Pending", "Running"]


async def test_an_object_that_was_replaced_unseen_is_told_as_a_change(
    api: fakeapi.FakeApi, watched: Followed
):
    """Given a Pod deleted and made anew in a gap, when listed, then old and new are both told."""
    api.vanish("pods", "team-a", "one")
    api.put(make_pod("one", "Running"))

    api.break_watches("pods", 410)
    await api.wait(lambda: watched.seen)

    assert watched.seen == [(("team-a", "one"), "Pending", "Running")]


async def test_each_watch_lasts_as_long_as_chance_says(api: fakeapi.FakeApi, watched: Followed):
    """Given many watches, when they are opened, then their ends are spread over a minute."""
    for number in range(2, 6):
        api.put(make_pod(f"pod-{number}"))
        await api.wait(lambda number=number: f"pod-{number}" in watched.phases)  # type: ignore[misc]
        api.close_watches("pods")
        await api.wait(lambda number=number: api.calls["watch", "pods"] == number)  # type: ignore[misc]

    asked = [int(c.query["timeoutSeconds"]) for c in api.requests if c.verb == "watch"]
    assert all(240 <= seconds <= 300 for seconds in asked)
    assert len(set(asked)) > 1


async def test_a_bug_in_keep_is_not_swallowed(api: fakeapi.FakeApi, kube: client.Client):
    """Given `keep` that raises, when an object comes, then `run` ends with that error."""
    api.put(make_pod("one"))
    pods = informer.Informer(kube, paths.pods(), lambda pod: pod["no such"], lambda *_: None)

    with pytest.raises(KeyError, match="no such"):
        await pods.run(chance())


async def test_a_cancelled_informer_leaves_no_watch_behind(
    api: fakeapi.FakeApi, kube: client.Client
):
    """Given a watch, when the informer is cancelled, then the server sees the watch closed."""
    task = asyncio.create_task(Followed(kube).informer.run(chance()))
    await api.wait(lambda: api.watching("pods"))

    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await api.wait(lambda: not api.watching("pods"))

    assert task.cancelled()
