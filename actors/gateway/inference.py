"""The service that generates."""

from collections.abc import Mapping
from typing import Any, ClassVar

import grpc.aio

from ringroad.actors.gateway.generation import Generation
from ringroad.actors.gateway.keys import Scope
from ringroad.actors.gateway.serving import OverGrpc
from ringroad.v1 import inference_pb2

_NAME = "ringroad-request-id"

_Context = grpc.aio.ServicerContext[Any, Any]


class GrpcCaller(OverGrpc):
    """Who reads a gRPC stream of the gateway's own service."""

    async def named(self, request_id: str) -> None:
        """In the initial metadata."""
        await self._context.send_initial_metadata(((_NAME, request_id),))

    async def write(self, answer: inference_pb2.GenerateResponse) -> None:
        """As it is."""
        await self._context.write(answer)


class InferenceServicer:
    """InferenceService of `inference.proto`. Methods raise what is wrong; `serving.py` makes it a status."""

    SCOPES: ClassVar[Mapping[str, Scope]] = {"Generate": Scope.GENERATE, "Tokenize": Scope.GENERATE}

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    async def Generate(self, request: inference_pb2.GenerateRequest, context: _Context) -> None:
        """Streams one text: deltas, then the final."""
        await self._generation.generate(request, GrpcCaller(context))

    async def Tokenize(
        self, request: inference_pb2.TokenizeRequest, context: _Context
    ) -> inference_pb2.TokenizeResponse:
        """The tokens of a text or a conversation."""
        return inference_pb2.TokenizeResponse(
            token_ids=await self._generation.tokenize(request),
            context_length=self._generation.offer.pair.context_length,
        )
