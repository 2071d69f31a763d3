"""Hands Envoy the certificates that agents see, when it asks for one (SDS, gRPC)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsCertificate
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from envoy.service.secret.v3 import sds_pb2_grpc as service
from google.protobuf.any_pb2 import Any as Packed

from anchorhold.gateway.leaves import Leaf

# A seventh of a certificate's life.
RENEWED_SECONDS = 86_400


class Certificates(service.SecretDiscoveryServiceServicer):  # type: ignore[misc]  # generated
    """The service that Envoy asks, by one stream for each host."""

    def __init__(self, mint: Callable[[str], Leaf | None]) -> None:
        self._mint = mint

    async def StreamSecrets(  # noqa: N802
        self,
        requests: AsyncIterator[Any],
        context: Any,  # noqa: ANN401
    ) -> AsyncIterator[Any]:
        """The certificate for the host that is asked for, and a new one in time."""
        request = await anext(requests)
        (host,) = request.resource_names
        turn = 0
        while (leaf := self._mint(host)) is not None:
            turn += 1
            yield response(request.type_url, str(turn), host, leaf)
            await asyncio.sleep(RENEWED_SECONDS)
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no rule is to be read for it")


def response(kind: str, turn: str, host: str, leaf: Leaf) -> Any:  # noqa: ANN401
    """A certificate in Envoy's words."""
    secret = Secret(
        name=host,
        tls_certificate=TlsCertificate(
            certificate_chain=DataSource(inline_bytes=leaf.chain),
            private_key=DataSource(inline_bytes=leaf.key),
        ),
    )
    packed = Packed()
    packed.Pack(secret)
    return DiscoveryResponse(version_info=turn, nonce=turn, type_url=kind, resources=[packed])
