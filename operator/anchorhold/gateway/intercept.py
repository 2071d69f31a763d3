"""How Envoy reads what is in a tunnel, where a rule says so: with certificates that agents trust.

It is the last of three hops: the request for a tunnel, the greeting that must name its host, and
here the TLS that ends with us. Each request is then judged by itself, as one in the mode Reverse.
"""

from anchorhold.gateway.clusters import AUTHZ, BUFFER_BYTES, DECIDER
from anchorhold.gateway.decision import INSIDE, RUN_HEADER, TUNNEL_HEADER
from anchorhold.gateway.second_layer import Config, part, typed
from anchorhold.gateway.tunnel import HOST, PORT, UID, restored

HEADERS = (RUN_HEADER, TUNNEL_HEADER)
TLS = "extensions.transport_sockets.tls"


def listener(connections: Config) -> Config:
    """Ends the agent's TLS. `connections` says what becomes of the requests."""
    tls = typed(
        f"{TLS}.v3.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "custom_tls_certificate_selector": selector(),
        },
        # A session must not outlive the certificate that it began with; Envoy insists on it.
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    socket = {"name": "tls", "typed_config": tls}
    return {
        "name": INSIDE,
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "listener_filters": [restored()],
        "filter_chains": [
            {
                "transport_socket": socket,
                "transport_socket_connect_timeout": "20s",
                "filters": [connections],
            }
        ],
    }


def selector() -> Config:
    """Asks the decider for a certificate for the name in the greeting, once a name."""
    service = {
        "api_type": "GRPC",
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


def identified() -> Config:
    """Tells the decider whose tunnel it is and where it leads, over whatever an agent says."""
    told = {
        RUN_HEADER: f"%FILTER_STATE({UID}:PLAIN)%",
        TUNNEL_HEADER: f"%FILTER_STATE({HOST}:PLAIN)%:%FILTER_STATE({PORT}:PLAIN)%",
    }
    action = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    mutations = [
        {"append": {"header": {"key": key, "value": value}, **action}}
        for key, value in told.items()
    ]
    return part(
        "envoy.filters.http.header_mutation",
        "extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": mutations},
    )


def through_a_tunnel() -> Config:
    """What makes the decider believe those headers: no request elsewhere comes with it."""
    settings = {"context_extensions": {INSIDE: "true"}}
    kind = "extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
    return {AUTHZ: typed(kind, check_settings=settings)}
