"""The service GRPCInferenceService, as clients of Triton and KServe ask any server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import grpc.aio

from ringroad.actors.errors import InvalidField, RingroadError
from ringroad.actors.gateway.generation import Generation
from ringroad.actors.gateway.keys import Scope
from ringroad.actors.gateway.kserve import tensors
from ringroad.actors.gateway.kserve.asking import VERSION, Asked
from ringroad.actors.gateway.kserve.callers import Inferred
from ringroad.actors.gateway.peers import Peers
from ringroad.v1 import kserve_pb2

SERVICE = kserve_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_NAME = "ringroad"
_MOST_TOGETHER = 64  # requests of one stream; more are not read until some have ended

_Context = grpc.aio.ServicerContext[Any, Any]


class KserveServicer:
    """One model: the pair, in one version."""

    SCOPES: ClassVar[Mapping[str, Scope]] = {method.name: Scope.GENERATE for method in SERVICE.methods}

    def __init__(self, generation: Generation, peers: Peers, version: str) -> None:
        self._generation = generation
        self._peers = peers
        self._version = version

    async def ServerLive(
        self, request: kserve_pb2.ServerLiveRequest, context: _Context
    ) -> kserve_pb2.ServerLiveResponse:
        """Who answers lives."""
        return kserve_pb2.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: kserve_pb2.ServerReadyRequest, context: _Context
    ) -> kserve_pb2.ServerReadyResponse:
        """Whether requests can be served now."""
        return kserve_pb2.ServerReadyResponse(ready=self._peers.ready)

    async def ModelReady(
        self, request: kserve_pb2.ModelReadyRequest, context: _Context
    ) -> kserve_pb2.ModelReadyResponse:
        """The same, of the one model there is."""
        known = request.name == self._model and request.version in ("", VERSION)
        return kserve_pb2.ModelReadyResponse(ready=known and self._peers.ready)

    async def ServerMetadata(
        self, request: kserve_pb2.ServerMetadataRequest, context: _Context
    ) -> kserve_pb2.ServerMetadataResponse:
        """What this is."""
        return kserve_pb2.ServerMetadataResponse(name=_NAME, version=self._version)

    async def ModelMetadata(
        self, request: kserve_pb2.ModelMetadataRequest, context: _Context
    ) -> kserve_pb2.ModelMetadataResponse:
        """What the model takes and gives. Raises InvalidField for another."""
        if request.name != self._model:
            raise InvalidField("name", f"{request.name!r} is not served here; {self._model!r} is")
        if request.version not in ("", VERSION):
            raise InvalidField("version", f"must be {VERSION!r}")
        metadata = kserve_pb2.ModelMetadataResponse(name=self._model, versions=[VERSION], platform=_NAME)
        for name, datatype in tensors.TAKEN.items():
            metadata.inputs.add(name=name, datatype=datatype, shape=[1])
        for name, datatype in tensors.GIVEN.items():
            metadata.outputs.add(name=name, datatype=datatype, shape=[-1])
        return metadata

    async def ModelInfer(
        self, request: kserve_pb2.ModelInferRequest, context: _Context
    ) -> kserve_pb2.ModelInferResponse:
        """Whole texts, one a sample. Raises RingroadError."""
        asked = Asked(request)
        if asked.stream:
            raise InvalidField("inputs[stream]", "needs ModelStreamInfer")
        said: list[kserve_pb2.ModelInferResponse] = []

        async def give(response: kserve_pb2.ModelInferResponse) -> None:
            said.append(response)

        await self._infer(asked, Inferred(context, asked, self._model, give))
        return said[-1]

    async def ModelStreamInfer(
        self, requests: AsyncIterator[kserve_pb2.ModelInferRequest | InvalidField], context: _Context
    ) -> None:
        """Texts for all requests of a stream, together; what is wrong with one ends that one."""
        turn, room = asyncio.Lock(), asyncio.Semaphore(_MOST_TOGETHER)

        async def say(response: kserve_pb2.ModelStreamInferResponse) -> None:
            async with turn:
                await context.write(response)

        async def give(response: kserve_pb2.ModelInferResponse) -> None:
            await say(kserve_pb2.ModelStreamInferResponse(infer_response=response))

        async def answer(request: kserve_pb2.ModelInferRequest) -> None:
            try:
                asked = Asked(request)
                if asked.stream and asked.request.n > 1:
                    raise InvalidField("n", "must be 1 together with inputs[stream]")
                await self._infer(asked, Inferred(context, asked, self._model, give))
            except RingroadError as error:
                response = kserve_pb2.ModelStreamInferResponse(error_message=str(error))
                response.infer_response.id = request.id
                await say(response)
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            async for request in requests:
                if isinstance(request, InvalidField):
                    await say(kserve_pb2.ModelStreamInferResponse(error_message=str(request)))
                    continue
                await room.acquire()
                group.create_task(answer(request))

    @property
    def _model(self) -> str:
        return self._generation.offer.pair.name

    async def _infer(self, asked: Asked, caller: Inferred) -> None:
        try:
            await self._generation.generate(asked.request, caller)
        except InvalidField as error:
            raise asked.named(error) from error
