"""How a program talks to a gateway: `Client`, and `AsyncClient` for asyncio. Neither torch nor Ray.

    with Client("127.0.0.1:50051") as client:
        for event in client.generate(user("Write a haiku."), seed=7):
            ...  # any number of Delta, then one Final

A call that fails raises CallFailed. A program that lives on after a Ctrl-C uses AsyncClient: one that
hits `Client` within gRPC's own locks cancels nothing, and `close` may then wait for ever.
"""

from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any, Self, TypeVar, Unpack

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ringroad.cluster.wire import (
    CallFailed,
    Event,
    Options,
    Prompt,
    event_of,
    generate_request,
    tokenize_request,
    translated,
    user,
)
from ringroad.v1 import control_pb2, control_pb2_grpc, inference_pb2, inference_pb2_grpc
from ringroad.v1.inference_pb2 import Chat, Delta, Final

__all__ = ["AsyncClient", "CallFailed", "Chat", "Client", "Delta", "Event", "Final", "user"]

R = TypeVar("R", bound=Message)

_UNARY_SECONDS = 10.0
# gRPC's own doubling to two minutes would sleep through a gateway's start or return.
_CHANNEL = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000)]
_HEALTH = health_pb2.HealthCheckRequest(service="ringroad.v1.InferenceService")


class Client:
    """A connection to the gateway at `target`. Close it, or use it in `with`."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, _CHANNEL)
        self._inference = inference_pb2_grpc.InferenceServiceStub(self._channel)
        self._control = control_pb2_grpc.ControlServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and cancels what still runs on it."""
        self._channel.close()

    def generate(
        self, prompt: Prompt, *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Generator[Event, None, None]:
        """The events of one text. Closing the generator, or an exception on its way, cancels the request.

        `timeout` is the deadline in seconds. Raises ValueError as `generate_request` does.
        """
        return self._events(generate_request(prompt, **options), timeout)

    def tokenize(self, prompt: str | Chat, model: str = "") -> inference_pb2.TokenizeResponse:
        """The tokens that `generate` would start from."""
        return _ask(self._inference.Tokenize, tokenize_request(prompt, model))

    def server_info(self) -> control_pb2.GetServerInfoResponse:
        """What the server is, and the roles its router reaches."""
        return _ask(self._control.GetServerInfo, control_pb2.GetServerInfoRequest())

    def load(self) -> control_pb2.GetLoadResponse:
        """How busy the gateway is."""
        return _ask(self._control.GetLoad, control_pb2.GetLoadRequest())

    def models(self) -> Sequence[control_pb2.ModelPair]:
        """The model pairs that `generate` accepts."""
        return _ask(self._control.ListModels, control_pb2.ListModelsRequest()).models

    def abort(self, request_id: str) -> bool:
        """Ends a running request; False when the gateway has none of that name."""
        return _ask(self._control.Abort, control_pb2.AbortRequest(request_id=request_id)).aborted

    def ready(self) -> bool:
        """Whether the gateway can serve requests now; False also when nobody answers."""
        try:
            return _serving(_ask(self._health.Check, _HEALTH))
        except CallFailed:
            return False

    def _events(
        self, request: inference_pb2.GenerateRequest, timeout: float | None
    ) -> Generator[Event, None, None]:
        call = self._inference.Generate(request, timeout=timeout)
        try:
            with translated():
                for response in call:
                    yield event_of(response)
        finally:
            call.cancel()


class AsyncClient:
    """The same for asyncio, from within a running loop."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target, _CHANNEL)
        self._inference = inference_pb2_grpc.InferenceServiceStub(self._channel)
        self._control = control_pb2_grpc.ControlServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """As `Client.close`."""
        await self._channel.close()

    def generate(
        self, prompt: Prompt, *, timeout: float | None = None, **options: Unpack[Options]
    ) -> AsyncGenerator[Event, None]:
        """As `Client.generate`. Close it with `contextlib.aclosing` when it may be left early."""
        return self._events(generate_request(prompt, **options), timeout)

    async def tokenize(self, prompt: str | Chat, model: str = "") -> inference_pb2.TokenizeResponse:
        """As `Client.tokenize`."""
        return await _ask_async(self._inference.Tokenize, tokenize_request(prompt, model))

    async def server_info(self) -> control_pb2.GetServerInfoResponse:
        """As `Client.server_info`."""
        return await _ask_async(self._control.GetServerInfo, control_pb2.GetServerInfoRequest())

    async def load(self) -> control_pb2.GetLoadResponse:
        """As `Client.load`."""
        return await _ask_async(self._control.GetLoad, control_pb2.GetLoadRequest())

    async def models(self) -> Sequence[control_pb2.ModelPair]:
        """As `Client.models`."""
        return (await _ask_async(self._control.ListModels, control_pb2.ListModelsRequest())).models

    async def abort(self, request_id: str) -> bool:
        """As `Client.abort`."""
        request = control_pb2.AbortRequest(request_id=request_id)
        return (await _ask_async(self._control.Abort, request)).aborted

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            return _serving(await _ask_async(self._health.Check, _HEALTH))
        except CallFailed:
            return False

    async def _events(
        self, request: inference_pb2.GenerateRequest, timeout: float | None
    ) -> AsyncGenerator[Event, None]:
        call = self._inference.Generate(request, timeout=timeout)
        try:
            with translated():
                async for response in call:
                    yield event_of(response)
        finally:
            call.cancel()


def _ask(method: "grpc.UnaryUnaryMultiCallable[Any, R]", request: Message) -> R:
    with translated():
        return method(request, timeout=_UNARY_SECONDS)


async def _ask_async(method: "grpc.aio.UnaryUnaryMultiCallable[Any, R]", request: Message) -> R:
    with translated():
        return await method(request, timeout=_UNARY_SECONDS)


def _serving(answer: health_pb2.HealthCheckResponse) -> bool:
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
