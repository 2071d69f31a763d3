"""Answers Envoy, which asks about every request before it moves a byte (ext_authz, gRPC).

What goes upstream is what was judged: the authority, the path and the address are written over
whatever the agent sent, and without a verdict of ours Envoy has no route.
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.accesslog.v3 import als_pb2_grpc as accesslog
from envoy.service.auth.v3 import external_auth_pb2 as wire
from envoy.service.auth.v3 import external_auth_pb2_grpc as service
from envoy.service.secret.v3 import sds_pb2_grpc as secrets
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.protobuf.struct_pb2 import Struct
from google.rpc.status_pb2 import Status
from prometheus_client import Counter

from anchorhold.gateway import decision, rules
from anchorhold.gateway.decision import Asked, Judge, Tunnel, Verdict
from anchorhold.gateway.leaves import Leaf
from anchorhold.gateway.secrets_service import Certificates
from anchorhold.gateway.usage.books import Books
from anchorhold.gateway.usage.reports import Reports

# gRPC's codes: what Envoy looks at.
OK, PERMISSION_DENIED = 0, 7
STREAMS = 1_000
# Never a label with a run or a host.
VERDICTS = Counter("gateway_verdicts_total", "Requests of agents.", ["decision", "reason"])
# git and others send a password only to who asks for one.
QUESTIONS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "www-authenticate",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "proxy-authenticate",
}
SENTENCE = "The gateway refuses this request by policy; trying again will not help."
PASSING = {
    decision.BUSY: "Requests that are not answered yet hold what is left of the budget: wait for "
    "them.",
    decision.UNRECORDED: "The gateway can't record what this run uses; try again later.",
}


class Decider(service.AuthorizationServicer):  # type: ignore[misc]  # generated, without types
    """The service that Envoy asks. To an error of ours it answers 503, as to our silence."""

    def __init__(self, judge: Judge, books: Books) -> None:
        self._judge = judge
        self._books = books

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: ANN401, ARG002, N802
        """The answer about one request."""
        verdict = await self._judge.decide(read(request.attributes))
        VERDICTS.labels(word(verdict), verdict.reason).inc()
        if verdict.cell is not None and word(verdict) == "deny":
            self._books.refuse(verdict.cell)
        return answer(verdict)


def read(attributes: Any) -> Asked:  # noqa: ANN401
    """What Envoy tells about a request."""
    http = attributes.request.http
    source = attributes.source.address.socket_address.address
    told = attributes.metadata_context.filter_metadata
    through = tunnel(told[decision.TOLD_BY].fields) if decision.TOLD_BY in told else None
    return Asked(source, http.method, http.path, dict(http.headers), http.host, through)


def tunnel(fields: Mapping[str, Any]) -> Tunnel:
    """The tunnel that a request came through, as Envoy knows it."""
    return Tunnel(*(fields[name].string_value for name in ("uid", "host", "port")))


def answer(verdict: Verdict) -> Any:  # noqa: ANN401
    """The verdict in Envoy's words."""
    return passed(verdict) if verdict.address else answered(verdict)


def passed(verdict: Verdict) -> Any:  # noqa: ANN401
    """On it goes, to the one address, without what the agent showed us."""
    target = verdict.target
    assert target is not None  # noqa: S101  # whoever has an address has a target
    headers = leading(verdict.way, target)
    removed = [*decision.SECRET_HEADERS]
    # Uncompressed, so that tokens are counted, and a secret is found should it come back.
    headers["accept-encoding"] = "identity"
    facts = {"rid": verdict.held.rid}
    if (secret := verdict.secret) is not None:
        headers[secret.name] = secret.value
        removed = [name for name in removed if name != secret.name]
        facts["secret"] = secret.secret
    where = f"[{verdict.address}]" if ":" in verdict.address else verdict.address
    return wire.CheckResponse(
        status=Status(code=OK),
        ok_response=wire.OkHttpResponse(
            headers=[option(name, value) for name, value in headers.items()],
            headers_to_remove=removed,
        ),
        dynamic_metadata=record(verdict, dst=f"{where}:{target.port}", **facts),
    )


def leading(way: str, target: rules.Target) -> dict[str, str]:
    """What chooses the way on; a tunnel has no path."""
    if target.method == rules.TUNNEL:
        return {decision.ROUTE_HEADER: way}
    return {
        decision.ROUTE_HEADER: way,
        ":authority": target.authority,
        ":path": target.path,
    }


def answered(verdict: Verdict) -> Any:  # noqa: ANN401
    """It ends here, with JSON that an agent can read."""
    headers = {"content-type": "application/json"}
    if (question := QUESTIONS.get(verdict.status)) is not None:
        headers[question] = 'Basic realm="anchorhold"'
    return wire.CheckResponse(
        status=Status(code=PERMISSION_DENIED),
        denied_response=wire.DeniedHttpResponse(
            status=HttpStatus(code=verdict.status),
            headers=[option(name, value) for name, value in headers.items()],
            body=json.dumps(body(verdict)),
        ),
        dynamic_metadata=record(verdict),
    )


def body(verdict: Verdict) -> Mapping[str, Any]:
    """What the agent reads: what it may reach, or why not this."""
    if verdict.cell is not None and verdict.reason == decision.GREETING:
        return {"run": verdict.cell.run, "rules": [rule.name for rule in verdict.cell.rules]}
    error = {"type": "egress_denied", "reason": verdict.reason, "rule": verdict.rule}
    if verdict.held.budget:
        error["budget"] = verdict.held.budget
    return {"error": {**error, "message": PASSING.get(verdict.reason, SENTENCE)}}


def word(verdict: Verdict) -> str:
    """The verdict in a word, for logs and figures."""
    if verdict.address:
        return "allow"
    return "greet" if verdict.reason == decision.GREETING else "deny"


def record(verdict: Verdict, **more: str) -> Struct:
    """What Envoy logs by name, and what it works with besides: it logs nothing of that."""
    cell, target = verdict.cell, verdict.target
    facts = Struct()
    facts.update(
        {
            "run": cell.run if cell is not None else "",
            "uid": cell.uid if cell is not None else "",
            "rule": verdict.rule,
            "host": target.host if target is not None else "",
            "port": str(target.port) if target is not None else "",
            "decision": word(verdict),
            "reason": verdict.reason,
            **more,
        }
    )
    return facts


def option(name: str, value: str) -> HeaderValueOption:
    """A header that replaces whatever has its name."""
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


async def serve(
    judge: Judge, books: Books, mint: Callable[[str], Leaf | None], socket: str
) -> grpc.aio.Server:
    """Answer at a Unix socket until the server is stopped."""
    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", STREAMS)])
    service.add_AuthorizationServicer_to_server(Decider(judge, books), server)
    accesslog.add_AccessLogServiceServicer_to_server(Reports(books.settle), server)
    secrets.add_SecretDiscoveryServiceServicer_to_server(Certificates(mint), server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    return server
