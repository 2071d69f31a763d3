"""How Envoy reports to the decider what requests move, and what models say of their tokens."""

from anchorhold.gateway.envoy.clusters import DECIDER
from anchorhold.gateway.envoy.second_layer import Config, part

# Under this name the reports have the tokens.
TOKENS = "anchorhold.tokens"
MOST_EVENTS, MOST_BYTES = 1_000_000, 10 * 1_048_576


def reports() -> Config:
    """What requests move, to the decider."""
    return part(
        "envoy.access_loggers.http_grpc",
        "extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": "usage",
            "transport_api_version": "V3",
            "buffer_flush_interval": "0.2s",
            "grpc_service": {"envoy_grpc": {"cluster_name": DECIDER}},
        },
        additional_response_headers_to_log=["content-type"],
    )


def counts_tokens() -> Config:
    """What the replies of models say of their tokens, into the reports."""
    return part(
        "envoy.filters.http.ai_protocol_manager",
        "extensions.filters.http.ai_protocol_manager.v3.AiProtocolManager",
        response_handling={
            "token_usage": {
                "include_unconfigured_routes": True,
                "metadata_namespace": TOKENS,
                # A long answer is read to its end, where it says what it cost.
                "limits": {"max_parsed_sse_events": MOST_EVENTS, "max_json_body_size": MOST_BYTES},
            }
        },
    )
