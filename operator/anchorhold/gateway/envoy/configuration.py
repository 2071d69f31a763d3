"""Envoy's configuration. Pure.

It never changes with runs. Envoy asks the decider about each request, routes by its verdict alone,
and dials the one address that was judged (cluster type ORIGINAL_DST): a cluster that asks name
servers itself judges the first address of several and may dial the second. `upstream_rbac` is a
second layer against the same mistake, with the ranges of `addresses`.
"""

from collections.abc import Sequence
from pathlib import Path

from anchorhold import names
from anchorhold.gateway import addresses
from anchorhold.gateway.decision import CONNECT, INSIDE, INTERCEPT, REVERSE, ROUTE_HEADER, TOLD_BY
from anchorhold.gateway.envoy import clusters, intercept, tunnel
from anchorhold.gateway.envoy.clusters import AUTHZ, BUFFER_BYTES, DECIDER, MOST_CONNECTIONS
from anchorhold.gateway.envoy.reporting import counts_tokens, reports
from anchorhold.gateway.envoy.second_layer import Config, part

FOLDER = "/run/anchorhold/gateway"
AUTHZ_SECONDS = 8
LUA = "extensions.filters.http.lua.v3.Lua"
SCRUB = Path(__file__).with_name("scrub.lua").read_text(encoding="ascii")
MUTATION = "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
OURS_ALONE = (ROUTE_HEADER, "x-envoy-original-dst-host")
# What Envoy adds, and what only we may set.
UNTOLD = ("x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-envoy-external-address")


def bootstrap(reachable: Sequence[addresses.Network], authorities: str, folder: str) -> Config:
    """All of it. `authorities` is the file with those that may vouch for an upstream."""
    return {
        # Without an id, some of Envoy's services end the process at the first request.
        "node": {"id": names.GATEWAY, "cluster": names.GATEWAY},
        "admin": {"address": {"pipe": {"path": f"{folder}/admin.sock", "mode": 0o600}}},
        "bootstrap_extensions": [tunnel.internal_listeners()],
        "overload_manager": {"resource_monitors": [bounded()]},
        "static_resources": {
            "listeners": [listener(), *tunnels(reachable, folder)],
            "clusters": [
                clusters.decider(folder),
                clusters.upstream(reachable, authorities),
                clusters.outside(tunnel.OUTSIDE),
                intercept.cluster(folder),
                *(clusters.inside(name) for name in (CONNECT, INTERCEPT)),
            ],
        },
    }


def bounded() -> Config:
    """No more connections than there is memory for."""
    kind = "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    name = "envoy.resource_monitors.global_downstream_max_connections"
    return part(name, kind, max_active_downstream_connections=MOST_CONNECTIONS)


def listener() -> Config:
    """Where agents knock."""
    address = {"address": "0.0.0.0", "port_value": names.GATEWAY_PORT}  # noqa: S104
    return {
        "name": REVERSE,
        "address": {"socket_address": address},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [{"filters": [of_agents()]}],
    }


def tunnels(reachable: Sequence[addresses.Network], folder: str) -> list[Config]:
    """The listeners inside: what each mode lets through, and what reads it where that is us."""
    line = written(tunnel.line())
    return [
        tunnel.listener(CONNECT, tunnel.OUTSIDE, tunnel.outside(reachable), line),
        tunnel.listener(INTERCEPT, INSIDE, tunnel.HERE, line),
        intercept.listener(folder, in_a_tunnel()),
    ]


def of_agents() -> Config:
    """Requests, and requests for a tunnel."""
    ways = [way(REVERSE), *(tunnel.route(name, verdict(name)) for name in (CONNECT, INTERCEPT))]
    filters = [asks(), tunnel.handed_on(AUTHZ)]
    routed = routes([*ways, end({"connect_matcher": {}})])
    return connections(REVERSE, filters, routed, "CONNECT")


def in_a_tunnel() -> Config:
    """The requests that come through one, where it is ours to read them."""
    return connections(INSIDE, [asks()], routes([way(REVERSE)]))


def connections(name: str, filters: Sequence[Config], routed: Config, *upgrades: str) -> Config:
    """How a connection is read, and what becomes of its requests."""
    return part(
        "http",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        # The address of the Pod, and nothing that a header claims.
        use_remote_address=True,
        skip_xff_append=True,
        internal_address_config={},
        generate_request_id=False,
        normalize_path=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        request_headers_timeout="10s",
        stream_idle_timeout="300s",
        # What is left of a reply when its connection ends is for an agent that is busy to read.
        delayed_close_timeout="5s",
        max_request_headers_kb=32,
        **protocols(),
        # An agent chooses neither a route nor an address.
        early_header_mutation_extensions=[
            part("stripped", MUTATION, mutations=[{"remove": name} for name in OURS_ALONE])
        ],
        upgrade_configs=[{"upgrade_type": each} for each in ("websocket", *upgrades)],
        access_log=[log(), reports()],
        access_log_options={"access_log_flush_interval": "1s"},
        http_filters=[*filters, *replies()],
        route_config=routed,
    )


def replies() -> list[Config]:
    """What looks at each reply, the last one first."""
    router = "extensions.filters.http.router.v3.Router"
    return [
        part("envoy.filters.http.lua", LUA, default_source_code={"inline_string": SCRUB}),
        counts_tokens(),
        part("envoy.filters.http.router", router, suppress_envoy_headers=True),
    ]


def protocols() -> Config:
    """What HTTP may be, in either version."""
    return {
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
        },
        # Python's own client asks a proxy for tunnels by HTTP/1.0.
        "http_protocol_options": {"accept_http_10": True},
        "http2_protocol_options": {"max_concurrent_streams": 100},
    }


def asks() -> Config:
    """No request passes that the decider has not allowed, and none while it does not answer."""
    return part(
        AUTHZ,
        "extensions.filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        clear_route_cache=True,
        # Whose tunnel a request came through, if it came through one.
        metadata_context_namespaces=[TOLD_BY],
        grpc_service={
            "envoy_grpc": {"cluster_name": DECIDER},
            "timeout": f"{AUTHZ_SECONDS}s",
        },
    )


def routes(ways: Sequence[Config]) -> Config:
    """With a verdict, the way that it names; without one, an end."""
    hosts = [{"name": "all", "domains": ["*"], "routes": [*ways, end({"prefix": "/"})]}]
    return {"virtual_hosts": hosts}


def way(name: str) -> Config:
    """The way of a request to the upstream."""
    return {
        "match": {"prefix": "/", "headers": [verdict(name)]},
        "request_headers_to_remove": [ROUTE_HEADER, *UNTOLD],
        "route": {
            "cluster": "upstream",
            "timeout": "0s",
            "idle_timeout": "300s",
            # A kept connection may be closed at the very moment: then nothing has been sent yet.
            "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request"},
        },
    }


def end(match: Config) -> Config:
    """No way on."""
    return {"match": match, "direct_response": {"status": 403}}


def verdict(name: str) -> Config:
    """That the decider chose this way."""
    return {"name": ROUTE_HEADER, "string_match": {"exact": name}}


def log() -> Config:
    """One line of JSON for each request, refused or not. A query may hold secrets: it is cut."""
    said = {name: f"%DYNAMIC_METADATA({AUTHZ}:{name})%" for name in SAID}
    seen = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "source": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "upstream": "%UPSTREAM_REMOTE_ADDRESS%",
        "received": "%BYTES_RECEIVED%",
        "sent": "%BYTES_SENT%",
        "milliseconds": "%DURATION%",
    }
    # Open streams are reported each second, and are one line when they end.
    ended = {"log_type_filter": {"types": ["DownstreamEnd"]}}
    return {**written({**said, **seen}), "filter": ended}


def written(line: Config) -> Config:
    """A line of JSON on the standard output."""
    return part(
        "envoy.access_loggers.stdout",
        "extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"omit_empty_values": True, "json_format": line},
    )


SAID = ("run", "uid", "rid", "rule", "host", "decision", "reason")
