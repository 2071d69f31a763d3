"""Hands Envoy the certificates that agents see, when it asks for one (SDS, gRPC)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsCertificate
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, Resource
from envoy.service.secret.v3 import sds_pb2_grpc as service
from google.protobuf.any_pb2 import Any as Packed

from anchorhold.gateway.leaves import Leaf

# A seventh of a certificate's life.
RENEWED_SECONDS = 86_400


class Certificates(service.SecretDiscoveryServiceServicer):  # type: ignore[misc]  # generated
    """The service that Envoy asks, by one stream for each host.

    An agent chooses how to spell the name in its greeting, and there are more spellings than
    anybody has memory for. What is removed Envoy forgets; what is only refused it asks for again
    and again, for ever.
    """

    def __init__(self, mint: Callable[[str], Leaf | None]) -> None:
        self._mint = mint

    async def DeltaSecrets(  # noqa: N802
        self,
        requests: AsyncIterator[Any],
        context: Any,  # noqa: ANN401, ARG002
    ) -> AsyncIterator[Any]:
        """The certificate for the host that is asked for, and a new one in time; or its end."""
        request = await anext(requests)
        (host,) = request.resource_names_subscribe
        turn = 0
        while (leaf := self._mint(host)) is not None:
            turn += 1
            yield answer(request.type_url, turn, resources=[resource(host, turn, leaf)])
            await asyncio.sleep(RENEWED_SECONDS)
        yield answer(request.type_url, turn + 1, removed_resources=[host])


def answer(kind: str, turn: int, **what: Any) -> Any:  # noqa: ANN401
    """One answer of a stream."""
    return DeltaDiscoveryResponse(nonce=str(turn), type_url=kind, **what)


def resource(host: str, turn: int, leaf: Leaf) -> Any:  # noqa: ANN401
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
    return Resource(name=host, version=str(turn), resource=packed)
