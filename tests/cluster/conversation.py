"""An agent: two turns with each of the real SDKs, streamed, with a tool that it runs itself."""

import json
import os
from pathlib import Path
from typing import Any

import anthropic
import openai

QUESTION = "What do 2 and 3 make? Use the tool."
NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}


def add(arguments: str | dict[str, Any]) -> str:
    """The tool."""
    numbers = json.loads(arguments) if isinstance(arguments, str) else arguments
    return str(numbers["a"] + numbers["b"])


def with_openai() -> dict[str, Any]:
    """Chat completions; the address and the key come from the environment."""
    client, messages = openai.OpenAI(), [{"role": "user", "content": QUESTION}]
    tool = {"type": "function", "function": {"name": "add", "parameters": NUMBERS}}
    turns = tokens = 0
    while True:
        turns += 1
        text, calls, model = "", [], ""
        stream = client.chat.completions.create(
            model="any", messages=messages, tools=[tool], stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        for chunk in stream:
            model = chunk.model
            tokens += chunk.usage.total_tokens if chunk.usage else 0
            for choice in chunk.choices:
                text += choice.delta.content or ""
                calls += choice.delta.tool_calls or []
        if not calls:
            return {"model": model, "turns": turns, "text": text, "tokens": tokens}
        call = calls[0]
        function = {"name": call.function.name, "arguments": call.function.arguments}
        asked = {"id": call.id, "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [asked]})
        messages.append(
            {"role": "tool", "tool_call_id": call.id, "content": add(function["arguments"])}
        )


def with_anthropic() -> dict[str, Any]:
    """Messages; the address and the key come from the environment."""
    client, messages = anthropic.Anthropic(), [{"role": "user", "content": QUESTION}]
    tool = {"name": "add", "input_schema": NUMBERS}
    turns = tokens = 0
    while True:
        turns += 1
        with client.messages.stream(
            model="any", max_tokens=99, messages=messages, tools=[tool]
        ) as stream:
            text = "".join(stream.text_stream)
            reply = stream.get_final_message()
        tokens += reply.usage.input_tokens + reply.usage.output_tokens
        calls = [block for block in reply.content if block.type == "tool_use"]
        if not calls:
            return {"model": reply.model, "turns": turns, "text": text, "tokens": tokens}
        call = calls[0]
        used = {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
        result = {"type": "tool_result", "tool_use_id": call.id, "content": add(call.input)}
        messages.append({"role": "assistant", "content": [used]})
        messages.append({"role": "user", "content": [result]})


found = {"openai": with_openai(), "anthropic": with_anthropic()}
Path(os.environ["ANCHORHOLD_RESULT"]).write_text(json.dumps(found), encoding="utf-8")
