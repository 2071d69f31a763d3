"""How Envoy reads what is in a tunnel, where a rule says so: with certificates that agents trust.

It is the last of three hops: the request for a tunnel, the greeting that must name its host, and
here the TLS that ends with us. Each request is then judged by itself, as one in the mode Reverse.

The last hop is a Unix socket, because a listener inside Envoy loses the end of a reply when it
closes a connection (envoyproxy/envoy#28329). Whose tunnel it is goes before its first byte.
"""

from anchorhold.gateway.decision import INSIDE, TOLD_BY
from anchorhold.gateway.envoy.clusters import BUFFER_BYTES, DECIDER, at_socket
from anchorhold.gateway.envoy.second_layer import Config, part
from anchorhold.gateway.envoy.tunnel import HOST, PORT, UID

TLS = "extensions.transport_sockets.tls"
# The decider is told these by the names here, and they travel under numbers that nobody else uses.
TOLD = {"uid": UID, "host": HOST, "port": PORT}
NUMBERS = dict(zip(TOLD, range(0xE0, 0xE3), strict=True))


def socket_of(folder: str) -> str:
    """Where the last hop is; no agent reaches it, and in the gateway's Pod only we do."""
    return f"{folder}/{INSIDE}.sock"


def cluster(folder: str) -> Config:
    """The way there, with what is known of the tunnel."""
    told = [
        {
            "type": NUMBERS[name],
            "format_string": {
                "text_format_source": {"inline_string": f"%FILTER_STATE({key}:PLAIN)%"}
            },
        }
        for name, key in TOLD.items()
    ]
    kind = "extensions.transport_sockets"
    raw = part("raw", f"{kind}.raw_buffer.v3.RawBuffer")
    telling = part(
        "telling",
        f"{kind}.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        config={"version": "V2", "added_tlvs": told},
        transport_socket=raw,
    )
    return {**at_socket(INSIDE, socket_of(folder)), "transport_socket": telling}


def listener(folder: str, connections: Config) -> Config:
    """Ends the agent's TLS. `connections` says what becomes of the requests."""
    tls = part(
        "tls",
        f"{TLS}.v3.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "custom_tls_certificate_selector": selector(),
        },
        # A session must not outlive the certificate that it began with; Envoy insists on it.
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    kind = "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
    rules = [{"tlv_type": NUMBERS[name], "on_tlv_present": {"key": name}} for name in TOLD]
    return {
        "name": INSIDE,
        "address": {"pipe": {"path": socket_of(folder), "mode": 0o600}},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "listener_filters": [part(TOLD_BY, kind, rules=rules)],
        "filter_chains": [
            {
                "transport_socket": tls,
                "transport_socket_connect_timeout": "20s",
                "filters": [connections],
            }
        ],
    }


def selector() -> Config:
    """Asks the decider for a certificate for the name in the greeting; it forgets refused ones."""
    service = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": DECIDER}}],
    }
    name = part("name", f"{TLS}.cert_mappers.sni.v3.SNI", default_value="unnamed.invalid")
    return part(
        "on-demand",
        f"{TLS}.cert_selectors.on_demand_secret.v3.Config",
        config_source={"api_config_source": service, "resource_api_version": "V3"},
        certificate_mapper=name,
    )
