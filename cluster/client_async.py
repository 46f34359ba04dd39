"""`AsyncClient`: client.py for asyncio."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from itertools import count
from typing import Any, Self, TypeVar, Unpack

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2_grpc

from ringroad.cluster.access import Access
from ringroad.cluster.client_shared import (
    ABORT_SECONDS,
    CHANNEL,
    HEALTH,
    NOBODY,
    PATIENCE,
    UNARY_SECONDS,
    from_next,
    listed,
    serving,
)
from ringroad.cluster.reading import Patience, Reading
from ringroad.cluster.wire import (
    CallFailed,
    Event,
    Options,
    Prompt,
    event_of,
    generate_request,
    tokenize_request,
    translated,
)
from ringroad.v1 import control_pb2, control_pb2_grpc, inference_pb2, inference_pb2_grpc
from ringroad.v1.inference_pb2 import Chat

R = TypeVar("R", bound=Message)


class _AsyncGateway:
    """A connection to one, and its services."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.channel = (
            grpc.aio.insecure_channel(target, CHANNEL)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, CHANNEL)
        )
        self.inference = inference_pb2_grpc.InferenceServiceStub(self.channel)
        self.control = control_pb2_grpc.ControlServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)


class AsyncClient:
    """As `ringroad.cluster.client.Client`, from within a running loop."""

    def __init__(
        self, targets: str | Sequence[str], patience: Patience = PATIENCE, access: Access | None = None
    ) -> None:
        """As `Client`."""
        access = Access.found() if access is None else access
        credentials = access.credentials()
        self._metadata = access.metadata
        self._gateways = [_AsyncGateway(target, credentials) for target in listed(targets)]
        self._patience = patience
        self._serial = count()
        self._open: dict[Reading, _AsyncGateway] = {}
        self._aborts: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """As `Client.close`."""
        self._closed.set()
        for reading, gateway in list(self._open.items()):
            self._abandon(reading, gateway)
        await asyncio.gather(*self._aborts)
        for gateway in self._gateways:
            await gateway.channel.close()

    def generate(
        self,
        prompt: Prompt,
        *,
        timeout: float | None = None,
        wait_when_busy: bool = False,
        **options: Unpack[Options],
    ) -> AsyncGenerator[Event, None]:
        """As `Client.generate`. Close it with `contextlib.aclosing` when it may be left early."""
        return self._events(generate_request(prompt, **options), timeout, wait_when_busy)

    async def tokenize(self, prompt: str | Chat, model: str = "") -> inference_pb2.TokenizeResponse:
        """As `Client.tokenize`."""
        return await self._ask(lambda gateway: gateway.inference.Tokenize, tokenize_request(prompt, model))

    async def server_info(self) -> control_pb2.GetServerInfoResponse:
        """As `Client.server_info`."""
        request = control_pb2.GetServerInfoRequest()
        return await self._ask(lambda gateway: gateway.control.GetServerInfo, request)

    async def load(self) -> control_pb2.GetLoadResponse:
        """As `Client.load`."""
        return await self._ask(lambda gateway: gateway.control.GetLoad, control_pb2.GetLoadRequest())

    async def models(self) -> Sequence[control_pb2.ModelPair]:
        """As `Client.models`."""
        request = control_pb2.ListModelsRequest()
        return (await self._ask(lambda gateway: gateway.control.ListModels, request)).models

    async def abort(self, request_id: str) -> bool:
        """As `Client.abort`."""
        request = control_pb2.AbortRequest(request_id=request_id)
        return (await self._ask(lambda gateway: gateway.control.Abort, request)).aborted

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            return serving(await self._ask(lambda gateway: gateway.health.Check, HEALTH))
        except CallFailed:
            return False

    async def _events(
        self, request: inference_pb2.GenerateRequest, timeout: float | None, wait_when_busy: bool
    ) -> AsyncGenerator[Event, None]:
        reading = Reading(request, time.monotonic(), timeout, self._patience, wait_when_busy)
        gateways = from_next(self._gateways, self._serial)
        gateway = next(gateways)
        try:
            while not reading.over:
                self._open[reading] = gateway
                try:
                    async with aclosing(self._stream(reading, gateway)) as events:
                        async for event in events:
                            yield event
                except CallFailed as failure:
                    if await self._closes_within(reading.fail(failure, time.monotonic(), random.random())):
                        raise
                    gateway = next(gateways)
        finally:
            if self._open.pop(reading, None):
                self._abandon(reading, gateway)

    async def _stream(self, reading: Reading, gateway: _AsyncGateway) -> AsyncGenerator[Event, None]:
        call = gateway.inference.Generate(
            reading.ask(), timeout=reading.seconds_left(time.monotonic()), metadata=self._metadata
        )
        try:
            with translated():
                async for response in call:
                    event = reading.hear(event_of(response), time.monotonic())
                    if event is not None:
                        yield event
            reading.check_over()
        finally:
            call.cancel()

    async def _closes_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)
        return self._closed.is_set()

    def _abandon(self, reading: Reading, gateway: _AsyncGateway) -> None:
        """As `Client._abandon`."""
        self._open.pop(reading, None)
        if reading.kept:
            abort = asyncio.create_task(self._abort_at(gateway, reading.name))
            self._aborts.add(abort)
            abort.add_done_callback(self._aborts.discard)

    async def _abort_at(self, gateway: _AsyncGateway, name: str) -> None:
        with suppress(grpc.RpcError):
            request = control_pb2.AbortRequest(request_id=name)
            await gateway.control.Abort(request, timeout=ABORT_SECONDS, metadata=self._metadata)

    async def _ask(
        self,
        method: "Callable[[_AsyncGateway], grpc.aio.UnaryUnaryMultiCallable[Any, R]]",
        request: Message,
    ) -> R:
        for gateway in self._gateways:
            try:
                with translated():
                    return await method(gateway)(request, timeout=UNARY_SECONDS, metadata=self._metadata)
            except CallFailed as failure:
                if failure.code not in NOBODY or gateway is self._gateways[-1]:
                    raise
        raise AssertionError("there is at least one gateway")
