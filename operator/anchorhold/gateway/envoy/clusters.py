"""Where Envoy sends what it has read: to the decider, to an upstream, and to its own listeners."""

from collections.abc import Sequence

from anchorhold.gateway import addresses
from anchorhold.gateway.envoy.second_layer import Config, part, second_layer, typed

DECIDER, AUTHZ = "decider", "envoy.filters.http.ext_authz"
BUFFER_BYTES = 65_536
# An open stream takes some 60 KiB; so many fit into the memory that the chart gives.
MOST_CONNECTIONS = 2_000
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def decider(folder: str) -> Config:
    """Ours, at a Unix socket that no agent reaches."""
    options = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http2_protocol_options": {}},
    )
    return {
        **at_socket(DECIDER, f"{folder}/decider.sock"),
        "typed_extension_protocol_options": {HTTP_OPTIONS: options},
    }


def at_socket(name: str, path: str) -> Config:
    """Who listens at a Unix socket."""
    return local(name, {"pipe": {"path": path}})


def local(name: str, address: Config) -> Config:
    """Who is in the same Pod."""
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": name,
        "connect_timeout": "1s",
        "circuit_breakers": thresholds(),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
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


def inside(name: str) -> Config:
    """A listener inside Envoy; what is known of a connection goes with it."""
    address = {"envoy_internal_address": {"server_listener_name": name}}
    raw = part("raw", "extensions.transport_sockets.raw_buffer.v3.RawBuffer")
    internal = "extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"
    return {**local(name, address), "transport_socket": part("in", internal, transport_socket=raw)}


def outside(name: str) -> Config:
    """The address that a tunnel was judged for; what is said to it is no business of ours."""
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        "circuit_breakers": thresholds(),
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
    }


def thresholds() -> Config:
    """As many requests at a time; Envoy's own bound is half of it."""
    fields = ("max_connections", "max_pending_requests", "max_requests")
    return {"thresholds": [dict.fromkeys(fields, MOST_CONNECTIONS)]}
