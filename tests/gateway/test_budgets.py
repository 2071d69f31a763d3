"""What a run may use, counted by a real Envoy: reserved before, settled after, kept in between."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from bed.kube import wait_for
from gatebed import CELLS, MIDDAY, Bed, rule
from onenode import scripted
from test_gateway import ask, reason

OPENAI, ANTHROPIC = "/model.test/v1/chat/completions", "/model.test/v1/messages"
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "add"}]}
# What the scripted model says that each answer cost.
COST = 42


def question(**more: object) -> bytes:
    return json.dumps({**QUESTION, **more}).encode()


STREAMED = question(stream=True, stream_options={"include_usage": True})


def settled(bed: Bed) -> None:
    """Wait until the cost of all that was asked is known."""
    wait_for(lambda: bed.in_flight() == 0, 10, "the reports")


def chat(bed: Bed, path: str = OPENAI, body: bytes = STREAMED) -> int:
    """A turn of a conversation; returns the status once its cost is known."""
    status = ask(bed, path, method="POST", body=body)[0]
    settled(bed)
    return status


@contextmanager
def open_stream(
    bed: Bed, path: str, body: bytes | None = None
) -> Iterator[http.client.HTTPResponse]:
    """A reply that has begun, and ends with the block."""
    connection = http.client.HTTPConnection(CELLS[0], 8080, 20, source_address=(CELLS[0], 0))
    shown = {"Authorization": f"Bearer {bed.token(0)}"}
    with closing(connection):
        connection.request("GET" if body is None else "POST", path, body, shown)
        yield connection.getresponse()


PROTOCOLS: Any = pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(OPENAI, STREAMED, id="OpenAI, streamed"),
        pytest.param(OPENAI, question(), id="OpenAI"),
        pytest.param(ANTHROPIC, question(stream=True), id="Anthropic, streamed"),
        pytest.param(ANTHROPIC, question(), id="Anthropic"),
    ],
)


@PROTOCOLS
def test_tokens_are_counted_as_the_model_reports_them(bed: Bed, path: str, body: bytes):
    """42 a turn, of 100: the third begins with some left, and the fourth with none."""
    bed.cell(0, rule(), budget={"tokens": 100})

    found = [chat(bed, path, body) for _ in range(4)]

    assert found == [200, 200, 200, 429]
    refused = json.loads(ask(bed, path, method="POST", body=body)[1])["error"]
    assert (refused["type"], refused["reason"]) == ("egress_denied", "budget-exhausted")
    assert refused["budget"] == "budget.tokens"
    wait_for(lambda: bed.usage().get("refused") == 2, 10, "the record")
    usage = bed.usage()
    assert (usage["requests"], usage["tokens"]) == (3, 3 * COST)
    assert usage["exhausted"] == "budget.tokens"
    assert len(bed.internet.requests) == 3


def test_without_a_budget_nothing_is_refused_and_all_is_counted(bed: Bed):
    bed.cell(0, rule())

    assert [chat(bed) for _ in range(6)] == [200] * 6

    wait_for(lambda: bed.usage().get("tokens") == 6 * COST, 10, "the record")
    usage = bed.usage()
    assert (usage["requests"], usage["exhausted"]) == (6, "")
    assert usage["reserved"] == {"requests": 0, "bytes": 0, "tokens": 0}
    assert usage["bytesSent"] > 6 * len(STREAMED)
    assert usage["bytesReceived"] > 6 * 692


def test_requests_are_counted_one_by_one(bed: Bed):
    bed.cell(0, rule(), budget={"requests": 5})

    found = [ask(bed) for _ in range(7)]

    assert [answer[0] for answer in found] == [200] * 5 + [429] * 2
    assert len(bed.internet.requests) == 5
    assert json.loads(found[-1][1])["error"]["budget"] == "budget.requests"


def test_what_was_refused_for_another_reason_costs_nothing(bed: Bed):
    bed.cell(0, rule(), budget={"requests": 1})

    assert [ask(bed, "/files.test/v1/x")[0] for _ in range(3)] == [403] * 3

    assert ask(bed)[0] == 200


def test_a_token_budget_is_not_paid_for_by_what_no_model_answers(bed: Bed):
    """Reading, and replies of other kinds."""
    bed.cell(0, rule(paths=["/**"]), budget={"tokens": 100})

    for _ in range(3):
        assert chat(bed, "/model.test/bytes/10", b"{}") == 200
        assert ask(bed)[0] == 200

    settled(bed)
    assert chat(bed) == 200
    wait_for(lambda: bed.usage().get("tokens") == COST, 10, "the record")


def test_a_long_stream_is_read_to_its_end(bed: Bed, monkeypatch: pytest.MonkeyPatch):
    """Which is where it says what it cost: by its size it would cost fifty times as much."""
    bed.cell(0, rule(), budget={"tokens": 100_000})
    script = scripted.OpenAI.stream

    def lengthy(self: scripted.OpenAI, asked: dict[str, Any]) -> Iterator[scripted.Event]:
        first, *rest = script(self, asked)
        yield from itertools.repeat(first, 20_000)
        yield from rest

    monkeypatch.setattr(scripted.OpenAI, "stream", lengthy)

    assert chat(bed) == 200

    wait_for(lambda: bed.usage().get("tokens") == COST, 10, "the record")
    assert bed.usage()["bytesReceived"] > 4_000_000


def test_a_large_answer_in_one_piece_is_read_to_its_end(bed: Bed, monkeypatch: pytest.MonkeyPatch):
    bed.cell(0, rule(), budget={"tokens": 100_000})
    whole = scripted.OpenAI.whole

    def large(self: scripted.OpenAI, asked: dict[str, Any]) -> dict[str, Any]:
        return {"padding": "x" * 3_000_000, **whole(self, asked)}

    monkeypatch.setattr(scripted.OpenAI, "whole", large)

    assert chat(bed, OPENAI, question()) == 200

    wait_for(lambda: bed.usage().get("tokens") == COST, 10, "the record")


def test_a_websocket_is_counted_and_costs_as_if_a_model_had_answered(bed: Bed):
    bed.cell(0, rule(paths=["/websocket"]), budget={"tokens": 100_000})
    head = (
        "GET /model.test/websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2NyaXB0ZWQ=\r\n"
        f"Authorization: Bearer {bed.token(0)}\r\n\r\n"
    )
    with socket.create_connection((CELLS[0], 8080), 10, source_address=(CELLS[0], 0)) as sender:
        sender.sendall(head.encode())
        assert b" 101 " in sender.recv(4096).split(b"\r\n")[0]
        sender.sendall(bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi")
        assert sender.recv(4096) == bytes([0x81, 2]) + b"hi"

    settled(bed)
    wait_for(lambda: bed.usage().get("tokens") == 4_096, 10, "the record")
    assert bed.usage()["bytesSent"] > len(head)


def hang_up(bed: Bed, body: bytes) -> int:
    """Ask a model for a stream, and leave when it has begun to answer."""
    with open_stream(bed, OPENAI, body) as response:
        response.read(1)
    settled(bed)
    return response.status


def test_whoever_hangs_up_before_the_bill_pays_all_the_same(bed: Bed):
    """Each stream that was left counts as what it held; there is room for two of them."""
    bed.internet.pace = 0.2
    bed.cell(0, rule(), budget={"tokens": 8_000})

    found = [hang_up(bed, STREAMED) for _ in range(5)]

    assert found == [200, 200, 429, 429, 429]
    wait_for(lambda: bed.usage().get("refused") == 3, 10, "the record")
    assert bed.usage()["tokens"] == 2 * 4_096


def test_a_stream_whose_usage_was_not_asked_for_counts_as_what_it_held(bed: Bed):
    bed.cell(0, rule(), budget={"tokens": 8_000})

    found = [chat(bed, OPENAI, question(stream=True)) for _ in range(3)]

    assert found == [200, 200, 429]


def test_a_reply_that_reports_nothing_counts_by_its_size(bed: Bed):
    """What was sent is part of it: a model has read it."""
    bed.cell(0, rule(), budget={"tokens": 1_000_000})

    assert chat(bed, OPENAI, question(stream=True, padding="x" * 100_000)) == 200

    wait_for(lambda: bed.usage().get("tokens", 0) > 25_000, 10, "the record")


def test_requests_in_flight_count_as_what_they_hold(bed: Bed):
    """Two at a time have room; the third is told to wait, and nothing is spent by that."""
    bed.internet.pace = 0.3
    bed.cell(0, rule(), budget={"tokens": 8_000})

    with open_stream(bed, OPENAI, STREAMED) as one, open_stream(bed, OPENAI, STREAMED) as two:
        waiting = ask(bed, OPENAI, method="POST", body=STREAMED)
        statuses = (one.status, two.status)
        one.read()
        two.read()

    assert statuses == (200, 200)
    assert (waiting[0], reason(waiting)) == (429, "budget-in-use")
    settled(bed)
    assert chat(bed) == 200
    wait_for(lambda: bed.usage().get("tokens") == 3 * COST, 10, "the record")
    assert bed.usage()["exhausted"] == ""


def test_no_crowd_gets_more_than_there_is(bed: Bed):
    bed.cell(0, rule(), budget={"requests": 20})

    with ThreadPoolExecutor(16) as crowd:
        found = list(crowd.map(lambda _: ask(bed)[0], range(60)))

    assert sorted(found) == [200] * 20 + [429] * 40
    assert len(bed.internet.requests) == 20


def test_bytes_of_both_directions_are_counted(bed: Bed):
    bed.cell(0, rule(paths=["/bytes/*", "/v1/**"]), budget={"bytes": 1_000_000})

    def read(path: str) -> int:
        status = ask(bed, f"/model.test{path}")[0]
        settled(bed)
        return status

    sent = b"x" * 400_000
    found = [read("/bytes/400000"), chat(bed, "/model.test/v1/x", sent), read("/bytes/400000")]
    found.append(read("/v1/x"))

    assert found == [200, 200, 200, 429]
    wait_for(lambda: bed.usage().get("refused") == 1, 10, "the record")
    usage = bed.usage()
    assert usage["exhausted"] == "budget.bytes"
    assert 800_000 < usage["bytesReceived"] < 810_000
    assert 400_000 < usage["bytesSent"] < 410_000


def test_an_open_stream_that_moves_too_much_is_on_record_before_it_ends(bed: Bed):
    """That is what the controller ends its run for."""
    bed.cell(0, rule(paths=["/ticks"]), budget={"bytes": 500})

    with open_stream(bed, "/model.test/ticks?n=100"):
        wait_for(lambda: bed.usage().get("exhausted") == "budget.bytes", 10, "the record")
        assert bed.in_flight() == 1


def test_a_budget_that_is_tightened_bites_at_once(bed: Bed):
    bed.cell(0, rule(), budget={"requests": 100})
    assert [ask(bed)[0] for _ in range(3)] == [200] * 3

    bed.cell(0, rule(), budget={"requests": 3})

    assert ask(bed)[0] == 429


def test_a_day_of_a_policy_is_shared_by_its_runs_and_ends_at_midnight(bed: Bed):
    for place in (0, 1):
        bed.cell(place, rule(), daily={"requests": 3})

    def asked(place: int) -> int:
        shown = {"Authorization": f"Bearer {bed.token(place)}"}
        return ask(bed, source=CELLS[place], headers=shown)[0]

    today = [asked(0), asked(1), asked(0), asked(1)]
    bed.decider.now = MIDDAY + timedelta(hours=12)

    assert today == [200, 200, 200, 429]
    assert asked(0) == 200
    # That run is to end.
    assert asked(1) == 429
    assert bed.usage(1)["exhausted"] == "dailyBudget.requests"


@pytest.mark.parametrize(("kind", "path"), [("bytes", "/v1/x"), ("tokens", "/v1/messages")])
def test_a_day_of_a_policy_counts_bytes_and_tokens_too(bed: Bed, kind: str, path: str):
    bed.cell(0, rule(), daily={kind: 1})

    found = [chat(bed, f"/model.test{path}", question()) for _ in range(2)]

    assert found == [200, 429]
    assert bed.usage()["exhausted"] == f"dailyBudget.{kind}"


def test_a_new_decider_gives_out_no_fresh_budget(bed: Bed):
    """What was set apart counts as used: of a hundred one step of five at most is lost."""
    bed.cell(0, rule(), budget={"requests": 100}, daily={"requests": 1_000})
    first = [ask(bed)[0] for _ in range(42)]

    bed.decider.stop()
    bed.decider.start()
    wait_for(lambda: ask(bed)[0] == 200, 10, "the decider to answer again")
    second = [ask(bed)[0] for _ in range(80)]

    assert first == [200] * 42
    passed = 42 + 1 + second.count(200)
    assert 94 <= passed <= 100
    assert len(bed.internet.requests) == passed
    assert second[-1] == 429
    assert bed.decider.paper.days["small"]["requests"] >= passed


def test_a_new_decider_goes_on_counting_a_stream_that_is_open(bed: Bed):
    bed.cell(0, rule(paths=["/ticks"]), budget={"bytes": 1_500})

    with open_stream(bed, "/model.test/ticks?n=100"):
        bed.decider.stop()
        bed.decider.start()
        wait_for(lambda: bed.usage().get("exhausted") == "budget.bytes", 20, "the record")


def test_without_its_record_nothing_passes(bed: Bed):
    """A budget that could not be written down would be a fresh one after the next restart."""
    bed.cell(0, rule(), budget={"requests": 100})
    assert ask(bed)[0] == 200
    bed.decider.paper.away = True

    # What was set apart before is still there.
    found = [ask(bed) for _ in range(8)]

    assert [answer[0] for answer in found] == [200] * 5 + [503] * 3
    assert reason(found[-1]) == "usage-not-recorded"
    bed.decider.paper.away = False
    assert ask(bed)[0] == 200


def figure(what: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"gateway_{what}_total", labels) or 0.0


def test_what_was_counted_is_in_the_metrics_without_a_name(bed: Bed):
    bed.cell(0, rule())
    before = [figure("tokens"), figure("bytes", direction="sent")]

    assert chat(bed) == 200

    assert figure("tokens") == before[0] + COST
    assert figure("bytes", direction="sent") > before[1]


def test_each_turn_has_its_cost_in_one_line(bed: Bed, caplog: pytest.LogCaptureFixture):
    """Of the decider; Envoy's own line of the request has the same `rid`."""
    caplog.set_level("INFO", "anchorhold.gateway.usage.books")
    bed.cell(0, rule())

    assert chat(bed) == 200

    (line,) = [json.loads(record.message) for record in caplog.records]
    assert (line["run"], line["tokens"], line["reported"]) == ("team-a/run-0", COST, True)
    wait_for(lambda: line["rid"] in {li.get("rid") for li in bed.lines()}, 20, "Envoy's line")
    assert len([li for li in bed.lines() if li.get("rid") == line["rid"]]) == 1
