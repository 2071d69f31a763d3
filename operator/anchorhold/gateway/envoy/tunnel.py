"""How Envoy carries a tunnel: what the decider has allowed to a host, and to no other.

The request for a tunnel is judged like any other. What comes through it then is seen by a listener
inside Envoy, which lets a TLS greeting pass that names the very host, to the one address that was
judged, and ends everything else before a byte of it has left: another name on the same address is
another host, and what is not TLS names none.
"""

from collections.abc import Sequence

from anchorhold.gateway import addresses
from anchorhold.gateway.envoy.clusters import BUFFER_BYTES
from anchorhold.gateway.envoy.second_layer import Config, part, public

OUTSIDE = "tunnelled"
IDLE_SECONDS, GREETING_SECONDS = 300, 10
# A greeting with post-quantum keys takes some 2 KiB.
GREETING_BYTES = 16_384
FACTS = ("host", "port", "run", "uid", "rule")
HOST, PORT, RUN, UID, RULE = (f"anchorhold.{name}" for name in FACTS)
# Envoy's own names: the listener inside takes these for the two ends of its connection.
TO, FROM = (f"envoy.filters.listener.original_dst.{end}_ip" for end in ("local", "remote"))


def handed_on(authz: str) -> Config:
    """What the verdict said, for the listener inside."""
    facts = {f"anchorhold.{name}": f"%DYNAMIC_METADATA({authz}:{name})%" for name in FACTS}
    return part(
        "envoy.filters.http.set_filter_state",
        "extensions.filters.http.set_filter_state.v3.Config",
        on_request_headers=[
            *(state(key, "envoy.string", text) for key, text in facts.items()),
            state(TO, TO, f"%DYNAMIC_METADATA({authz}:dst)%"),
            state(FROM, FROM, "%DOWNSTREAM_REMOTE_ADDRESS%"),
        ],
    )


def state(key: str, factory: str, text: str) -> Config:
    """One fact, which goes with the connection."""
    return {
        "object_key": key,
        "factory_key": factory,
        "format_string": {"text_format_source": {"inline_string": text}, "omit_empty_values": True},
        "shared_with_upstream": "TRANSITIVE",
    }


def route(name: str, verdict: Config) -> Config:
    """The way into a tunnel, with a verdict."""
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    return {
        "match": {"connect_matcher": {}, "headers": [verdict]},
        "route": {
            "cluster": name,
            "timeout": "0s",
            "idle_timeout": f"{IDLE_SECONDS}s",
            "upgrade_configs": [upgrade],
        },
    }


def listener(name: str, onwards: str, ends: Config, log: Config) -> Config:
    """The listener inside. Nobody is dialled before its judgement, which needs the greeting.

    `ends` says where a tunnel may end.
    """
    passing = part(
        "envoy.filters.network.tcp_proxy",
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=name,
        cluster=onwards,
        idle_timeout=f"{IDLE_SECONDS}s",
        upstream_connect_mode="ON_DOWNSTREAM_DATA",
        max_early_data_bytes=GREETING_BYTES,
    )
    inspector = "extensions.filters.listener.tls_inspector.v3.TlsInspector"
    return {
        "name": name,
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "listener_filters_timeout": f"{GREETING_SECONDS}s",
        "listener_filters": [
            restored(),
            part("envoy.filters.listener.tls_inspector", inspector),
        ],
        "filter_chains": [
            {
                "filter_chain_match": {"transport_protocol": "tls"},
                "filters": [judged(ends), passing],
            }
        ],
        "access_log": [log],
    }


def restored() -> Config:
    """The two ends of the connection, as they were said."""
    kind = "extensions.filters.listener.original_dst.v3.OriginalDst"
    return part("envoy.filters.listener.original_dst", kind)


def judged(ends: Config) -> Config:
    """The greeting names the host, and the tunnel ends where it may."""
    policy = {
        "principals": [{"any": True}],
        "permissions": [ends],
        "condition": named(),
        "cel_config": {"enable_string_conversion": True},
    }
    return part(
        "envoy.filters.network.rbac",
        "extensions.filters.network.rbac.v3.RBAC",
        stat_prefix="tunnel.",
        rules={"action": "ALLOW", "policies": {"named": policy}},
    )


def named() -> Config:
    """`connection.requested_server_name == string(filter_state[HOST])`, as Envoy takes it."""
    wanted = {"select_expr": {"operand": known("connection"), "field": "requested_server_name"}}
    place = {"const_expr": {"string_value": HOST}}
    said = call("string", call("_[_]", known("filter_state"), place))
    return call("_==_", wanted, said)


def known(name: str) -> Config:
    """A variable of CEL."""
    return {"ident_expr": {"name": name}}


def call(function: str, *arguments: Config) -> Config:
    """A function of CEL, applied."""
    return {"call_expr": {"function": function, "args": list(arguments)}}


def outside(reachable: Sequence[addresses.Network]) -> Config:
    """At an address that may be dialled."""
    return public(reachable, destined)


def destined(at: str, length: int) -> Config:
    """Whether the connection's destination is in a range."""
    return {"destination_ip": {"address_prefix": at, "prefix_len": length}}


# With us, who look at what is in it.
HERE: Config = {"any": True}


def internal_listeners() -> Config:
    """Envoy has listeners inside only when it is told so."""
    return part(
        "envoy.bootstrap.internal_listener",
        "extensions.bootstrap.internal_listener.v3.InternalListener",
    )


def line() -> Config:
    """What is logged of a connection through a tunnel, also of one that was ended."""
    facts = {"run": RUN, "uid": UID, "rule": RULE, "host": HOST}
    seen = {
        "time": "%START_TIME%",
        "named": "%REQUESTED_SERVER_NAME%",
        "details": "%CONNECTION_TERMINATION_DETAILS%",
        "source": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "upstream": "%UPSTREAM_REMOTE_ADDRESS%",
        "received": "%BYTES_RECEIVED%",
        "sent": "%BYTES_SENT%",
        "milliseconds": "%DURATION%",
    }
    return {**{name: f"%FILTER_STATE({key}:PLAIN)%" for name, key in facts.items()}, **seen}
