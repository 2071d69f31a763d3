"""A scripted model server: the wire formats of OpenAI and Anthropic, and no model behind them.

It plays one fixed script: asked for the first time it calls the tool `add` with 2 and 3, and told
the tool's result it says so. `model` is always 'scripted', so nobody takes it for more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MODEL = "scripted"
ARGUMENTS = {"a": 2, "b": 3}
INPUT_TOKENS, OUTPUT_TOKENS = 30, 12

Document = dict[str, Any]
Event = tuple[str, Document]


def result_of_tool(messages: list[Document]) -> str | None:
    """What the tool said, in either format; None while it has not been asked."""
    last = messages[-1]
    if last["role"] == "tool":
        return str(last["content"])
    content = last["content"] if isinstance(last["content"], list) else []
    results = [part for part in content if part.get("type") == "tool_result"]
    return str(results[-1]["content"]) if results else None


def words(result: str) -> list[str]:
    """The last line of the script, in the pieces in which it is streamed."""
    return ["Scripted: ", "the tool said ", f"{result}."]


USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
}


class OpenAI:
    """POST /v1/chat/completions."""

    def whole(self, asked: Document) -> Document:
        """The reply in one piece."""
        result = result_of_tool(asked["messages"])
        message: Document = {"role": "assistant", "content": "".join(words(result or ""))}
        if result is None:
            message = {"role": "assistant", "content": None, "tool_calls": [self._call()]}
        reason = "tool_calls" if result is None else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": USAGE}

    def stream(self, asked: Document) -> Iterator[Event]:
        """The reply in pieces, and the usage if it is asked for."""
        result = result_of_tool(asked["messages"])
        if result is None:
            yield self._piece({"role": "assistant", "tool_calls": [{"index": 0, **self._call()}]})
            yield self._piece({}, "tool_calls")
        else:
            for word in words(result):
                yield self._piece({"role": "assistant", "content": word})
            yield self._piece({}, "stop")
        if asked.get("stream_options", {}).get("include_usage"):
            yield "", {**self._head("chat.completion.chunk"), "choices": [], "usage": USAGE}

    def _call(self) -> Document:
        function = {"name": "add", "arguments": json.dumps(ARGUMENTS)}
        return {"id": "call_scripted", "type": "function", "function": function}

    def _piece(self, delta: Document, reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return "", {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _head(self, kind: str) -> Document:
        return {"id": "scripted-1", "object": kind, "created": 1, "model": MODEL}


class Anthropic:
    """POST /v1/messages."""

    def whole(self, asked: Document) -> Document:
        """The reply in one piece."""
        result = result_of_tool(asked["messages"])
        text = {"type": "text", "text": "".join(words(result or ""))}
        content = [self._call(ARGUMENTS) if result is None else text]
        reason = "tool_use" if result is None else "end_turn"
        return {**self._head(), "content": content, "stop_reason": reason, "usage": self._usage()}

    def stream(self, asked: Document) -> Iterator[Event]:
        """The reply in pieces, as the SDK puts them together."""
        result = result_of_tool(asked["messages"])
        usage = {"input_tokens": INPUT_TOKENS, "output_tokens": 1}
        yield self._event("message_start", message={**self._head(), "content": [], "usage": usage})
        block = self._call({}) if result is None else {"type": "text", "text": ""}
        yield self._event("content_block_start", index=0, content_block=block)
        for delta in self._deltas(result):
            yield self._event("content_block_delta", index=0, delta=delta)
        yield self._event("content_block_stop", index=0)
        stop = {"stop_reason": "tool_use" if result is None else "end_turn"}
        yield self._event("message_delta", delta=stop, usage={"output_tokens": OUTPUT_TOKENS})
        yield self._event("message_stop")

    def _deltas(self, result: str | None) -> list[Document]:
        if result is None:
            return [{"type": "input_json_delta", "partial_json": json.dumps(ARGUMENTS)}]
        return [{"type": "text_delta", "text": word} for word in words(result)]

    def _event(self, kind: str, **more: Any) -> Event:  # noqa: ANN401
        return kind, {"type": kind, **more}

    def _call(self, arguments: Document) -> Document:
        return {"type": "tool_use", "id": "toolu_scripted", "name": "add", "input": arguments}

    def _usage(self) -> Document:
        return {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}

    def _head(self) -> Document:
        return {
            "id": "scripted-1",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "stop_reason": None,
            "stop_sequence": None,
        }


PROTOCOLS: dict[str, OpenAI | Anthropic] = {
    "/v1/chat/completions": OpenAI(),
    "/v1/messages": Anthropic(),
}
