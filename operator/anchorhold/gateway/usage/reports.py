"""Takes Envoy's word on what requests moved: its access log, by gRPC, each second and at the end.

The tokens are what its filter `ai_protocol_manager` read from a model's reply. Python knows no
message of that filter yet, so that the few fields are read here.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.service.accesslog.v3 import als_pb2 as wire
from envoy.service.accesslog.v3 import als_pb2_grpc as service
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from anchorhold.gateway.envoy.clusters import AUTHZ
from anchorhold.gateway.envoy.reporting import TOKENS
from anchorhold.gateway.usage import budget
from anchorhold.gateway.usage.budget import Reply, Report

WHOLE = "via_upstream"
# envoy/data/ai/v3/token_usage.proto: names, numbers and what a complete reading is called.
AMOUNTS = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 5}
STATUS, COMPLETE = 9, 1


def token_usage() -> Any:  # noqa: ANN401
    """The message, as far as it is of interest."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="anchorhold/token_usage.proto",
        package="anchorhold",
        dependency=["google/protobuf/wrappers.proto"],
        syntax="proto3",
    )
    message = file.message_type.add(name="TokenUsage")
    for name, number in AMOUNTS.items():
        message.field.add(
            name=name,
            number=number,
            label=kinds.LABEL_OPTIONAL,
            type=kinds.TYPE_MESSAGE,
            type_name=".google.protobuf.UInt64Value",
        )
    message.field.add(
        name="status", number=STATUS, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_INT32
    )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("anchorhold.TokenUsage"))


TokenUsage = token_usage()


class Reports(service.AccessLogServiceServicer):  # type: ignore[misc]  # generated, without types
    """The service that Envoy reports to."""

    def __init__(self, settle: Callable[[Report], Awaitable[None]]) -> None:
        self._settle = settle

    async def StreamAccessLogs(  # noqa: N802
        self,
        messages: AsyncIterator[Any],
        context: Any,  # noqa: ANN401, ARG002
    ) -> Any:  # noqa: ANN401
        """Every entry about a request that was let pass."""
        async for message in messages:
            for entry in message.http_logs.log_entry:
                if (report := read(entry)) is not None:
                    await self._settle(report)
        return wire.StreamAccessLogsResponse()


def read(entry: Any) -> Report | None:  # noqa: ANN401
    """The report of an entry; None if it is about a request that went nowhere."""
    common = entry.common_properties
    said = common.metadata.filter_metadata[AUTHZ]
    if not (rid := text(said, "rid")):
        return None
    ended = common.access_log_type == AccessLogType.DownstreamEnd
    return Report(
        rid=rid,
        uid=text(said, "uid"),
        sent=common.downstream_wire_bytes_received,
        received=common.downstream_wire_bytes_sent,
        ended=ended,
        tokens=tokens(common.metadata) if ended else None,
        free=ended and budget.is_free(reply(entry)),
    )


def text(said: Any, name: str) -> str:  # noqa: ANN401
    """A text among the facts of a verdict."""
    return str(said.fields[name].string_value)


def reply(entry: Any) -> Reply:  # noqa: ANN401
    """How a request ended."""
    flags = entry.common_properties.response_flags
    return Reply(
        status=entry.response.response_code.value,
        whole=entry.response.response_code_details == WHOLE
        and not flags.downstream_connection_termination,
        connected=not (flags.upstream_connection_failure or flags.no_healthy_upstream),
        content_type=entry.response.response_headers.get("content-type", "").lower(),
        tunnel=entry.request.request_method == RequestMethod.CONNECT,
    )


def tokens(metadata: Any) -> int | None:  # noqa: ANN401
    """What a reply reported, if all of it was understood."""
    usage = TokenUsage()
    try:
        usage.ParseFromString(metadata.typed_filter_metadata[TOKENS].value)
    except DecodeError:
        return None
    if usage.status != COMPLETE:
        return None
    both = usage.input_tokens.value + usage.output_tokens.value
    return int(max(usage.total_tokens.value, both))
