"""Writes Envoy's configuration: `python -m anchorhold.gateway.envoy FILE`.

It never changes with runs. Envoy asks the decider about each request, routes by its verdict alone,
and dials the one address that was judged (cluster type ORIGINAL_DST): a cluster that asks name
servers itself judges the first address of several and may dial the second. `upstream_rbac` is a
second layer against the same mistake, with the ranges of `addresses`.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from anchorhold import names
from anchorhold.gateway import addresses
from anchorhold.gateway.decision import REVERSE, ROUTE_HEADER
from anchorhold.gateway.reporting import AUTHZ, DECIDER, counts_tokens, reports
from anchorhold.gateway.second_layer import Config, part, second_layer, typed

FOLDER = "/run/anchorhold/gateway"
AUTHZ_SECONDS = 8
BUFFER_BYTES = 65_536
# An open stream takes some 60 KiB; so many fit into the memory that the chart gives.
MOST_CONNECTIONS = 2_000
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
        "overload_manager": {"resource_monitors": [bounded()]},
        "static_resources": {
            "listeners": [listener()],
            "clusters": [decider(folder), upstream(reachable, authorities)],
        },
    }


def bounded() -> Config:
    """No more connections than there is memory for."""
    kind = "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    name = "envoy.resource_monitors.global_downstream_max_connections"
    return part(name, kind, max_active_downstream_connections=MOST_CONNECTIONS)


def thresholds() -> Config:
    """As many requests at a time; Envoy's own bound is half of it."""
    fields = ("max_connections", "max_pending_requests", "max_requests")
    return {"thresholds": [dict.fromkeys(fields, MOST_CONNECTIONS)]}


def listener() -> Config:
    """Where agents knock."""
    address = {"address": "0.0.0.0", "port_value": names.GATEWAY_PORT}  # noqa: S104
    return {
        "name": REVERSE,
        "address": {"socket_address": address},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [{"filters": [connections()]}],
    }


def connections() -> Config:
    """How a connection is read, and what becomes of its requests."""
    return part(
        "http",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=REVERSE,
        # The address of the Pod, and nothing that a header claims.
        use_remote_address=True,
        skip_xff_append=True,
        internal_address_config={},
        generate_request_id=False,
        normalize_path=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        request_headers_timeout="10s",
        stream_idle_timeout="300s",
        max_request_headers_kb=32,
        common_http_protocol_options={
            "idle_timeout": "300s",
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
        },
        http2_protocol_options={"max_concurrent_streams": 100},
        # An agent chooses neither a route nor an address.
        early_header_mutation_extensions=[
            part("stripped", MUTATION, mutations=[{"remove": name} for name in OURS_ALONE])
        ],
        upgrade_configs=[{"upgrade_type": "websocket"}],
        access_log=[log(), reports()],
        access_log_options={"access_log_flush_interval": "1s"},
        http_filters=filters(),
        route_config=routes(),
    )


def filters() -> list[Config]:
    """What looks at each request, the first one first, and at each reply, the last one first."""
    router = "extensions.filters.http.router.v3.Router"
    return [
        asks(),
        part("envoy.filters.http.lua", LUA, default_source_code={"inline_string": SCRUB}),
        counts_tokens(),
        part("envoy.filters.http.router", router, suppress_envoy_headers=True),
    ]


def asks() -> Config:
    """No request passes that the decider has not allowed, and none while it does not answer."""
    return part(
        AUTHZ,
        "extensions.filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        clear_route_cache=True,
        grpc_service={
            "envoy_grpc": {"cluster_name": DECIDER},
            "timeout": f"{AUTHZ_SECONDS}s",
        },
    )


def routes() -> Config:
    """One way out, with a verdict; without one, an end."""
    verdict = {"name": ROUTE_HEADER, "string_match": {"exact": REVERSE}}
    allowed = {
        "match": {"prefix": "/", "headers": [verdict]},
        "request_headers_to_remove": [ROUTE_HEADER, *UNTOLD],
        "route": {
            "cluster": "upstream",
            "timeout": "0s",
            "idle_timeout": "300s",
            # A kept connection may be closed at the very moment: then nothing has been sent yet.
            "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request"},
        },
    }
    refused = {"match": {"prefix": "/"}, "direct_response": {"status": 403}}
    return {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [allowed, refused]}]}


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
    kind = "extensions.access_loggers.stream.v3.StdoutAccessLog"
    lines = {"omit_empty_values": True, "json_format": {**said, **seen}}
    return {
        **part("envoy.access_loggers.stdout", kind, log_format=lines),
        "filter": {"log_type_filter": {"types": ["DownstreamEnd"]}},
    }


SAID = ("run", "uid", "rid", "rule", "host", "decision", "reason")
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def decider(folder: str) -> Config:
    """Ours, at a Unix socket that no agent reaches."""
    endpoint = {"endpoint": {"address": {"pipe": {"path": f"{folder}/decider.sock"}}}}
    options = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http2_protocol_options": {}},
    )
    return {
        "name": DECIDER,
        "connect_timeout": "1s",
        "circuit_breakers": thresholds(),
        "load_assignment": {"cluster_name": DECIDER, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {HTTP_OPTIONS: options},
    }


def upstream(reachable: Sequence[addresses.Network], authorities: str) -> Config:
    """The address that was judged, by TLS, under the name that was judged."""
    trusted = {"validation_context": {"trusted_ca": {"filename": authorities}}}
    codec = "extensions.filters.http.upstream_codec.v3.UpstreamCodec"
    options = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        upstream_http_protocol_options={"auto_sni": True, "auto_san_validation": True},
        auto_config={"http2_protocol_options": {}},
        http_filters=[second_layer(reachable), part("envoy.filters.http.upstream_codec", codec)],
    )
    tls = "extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return {
        "name": "upstream",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        "circuit_breakers": thresholds(),
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "original_dst_lb_config": {"metadata_key": {"key": AUTHZ, "path": [{"key": "dst"}]}},
        "transport_socket": part("tls", tls, common_tls_context=trusted),
        "typed_extension_protocol_options": {HTTP_OPTIONS: options},
    }


def main() -> None:
    """Write it for this installation."""
    reachable = addresses.networks(os.environ["ANCHORHOLD_REACHABLE"])
    config = bootstrap(reachable, os.environ["ANCHORHOLD_AUTHORITIES"], FOLDER)
    Path(sys.argv[1]).write_text(json.dumps(config), encoding="ascii")


if __name__ == "__main__":
    main()
