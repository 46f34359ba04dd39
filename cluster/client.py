"""How a program talks to a cluster: `Client`, and `AsyncClient` for asyncio. Neither torch nor Ray.

    with Client("127.0.0.1:50051") as client:
        for event in client.generate(user("Write a haiku."), seed=7):
            ...  # any number of Delta, then one Final

A text whose stream breaks goes on by itself, at the same gateway or at another one: its events are those of
an unbroken one, after a pause. A call that fails for good raises CallFailed. A program that lives on after a
Ctrl-C uses AsyncClient: one that hits `Client` within gRPC's own locks cancels nothing, and `close` may then
wait for ever.
"""

import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Self, TypeVar, Unpack

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2_grpc

from ringroad.cluster.access import Access
from ringroad.cluster.client_async import AsyncClient
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
    user,
)
from ringroad.v1 import control_pb2, control_pb2_grpc, inference_pb2, inference_pb2_grpc
from ringroad.v1.inference_pb2 import Chat, Delta, Final

__all__ = [
    "Access",
    "AsyncClient",
    "CallFailed",
    "Chat",
    "Client",
    "Delta",
    "Event",
    "Final",
    "Patience",
    "user",
]

R = TypeVar("R", bound=Message)


class _Gateway:
    """A connection to one, and its services."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.channel = (
            grpc.insecure_channel(target, CHANNEL)
            if credentials is None
            else grpc.secure_channel(target, credentials, CHANNEL)
        )
        self.inference = inference_pb2_grpc.InferenceServiceStub(self.channel)
        self.control = control_pb2_grpc.ControlServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)


class Client:
    """Connections to the gateways of one cluster. Close it, or use it in `with`."""

    def __init__(
        self, targets: str | Sequence[str], patience: Patience = PATIENCE, access: Access | None = None
    ) -> None:
        """`targets`: "HOST:PORT", several with commas between, or a sequence of them. `access`: the API key
        and TLS; None for what the environment says (`Access.found`). Raises ValueError."""
        access = Access.found() if access is None else access
        credentials = access.credentials()
        self._metadata = access.metadata
        self._gateways = [_Gateway(target, credentials) for target in listed(targets)]
        self._patience = patience
        self._serial = count()
        self._closed = threading.Event()
        self._open: dict[Reading, _Gateway] = {}
        self._aborts: set[grpc.Future[Any]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections and what still runs on them; takes seconds where a gateway does not answer."""
        self._closed.set()
        for reading, gateway in list(self._open.items()):
            self._abandon(reading, gateway)
        for abort in list(self._aborts):
            with suppress(grpc.FutureCancelledError):
                abort.exception()
        for gateway in self._gateways:
            gateway.channel.close()

    def generate(
        self,
        prompt: Prompt,
        *,
        timeout: float | None = None,
        wait_when_busy: bool = False,
        **options: Unpack[Options],
    ) -> Generator[Event, None, None]:
        """The events of one text. Closing the generator, or an exception on its way, cancels the request.

        `timeout` is the deadline in seconds. A request without a name or a seed is given one here, so that it
        can be asked for again. With `wait_when_busy` a gateway without a place is asked again when it says;
        for the rest of a text it always is.
        Raises ValueError as `generate_request` does.
        """
        return self._events(generate_request(prompt, **options), timeout, wait_when_busy)

    def tokenize(self, prompt: str | Chat, model: str = "") -> inference_pb2.TokenizeResponse:
        """The tokens that `generate` would start from."""
        return self._ask(lambda gateway: gateway.inference.Tokenize, tokenize_request(prompt, model))

    def server_info(self) -> control_pb2.GetServerInfoResponse:
        """What the first gateway that answers is, and the roles its router reaches."""
        return self._ask(lambda gateway: gateway.control.GetServerInfo, control_pb2.GetServerInfoRequest())

    def load(self) -> control_pb2.GetLoadResponse:
        """How busy the first gateway that answers is."""
        return self._ask(lambda gateway: gateway.control.GetLoad, control_pb2.GetLoadRequest())

    def models(self) -> Sequence[control_pb2.ModelPair]:
        """The model pairs that `generate` accepts."""
        return self._ask(lambda gateway: gateway.control.ListModels, control_pb2.ListModelsRequest()).models

    def abort(self, request_id: str) -> bool:
        """Ends a running request; False when the first gateway that answers knows none of that name."""
        request = control_pb2.AbortRequest(request_id=request_id)
        return self._ask(lambda gateway: gateway.control.Abort, request).aborted

    def ready(self) -> bool:
        """Whether the first gateway that answers can serve requests now; False also when nobody does."""
        try:
            return serving(self._ask(lambda gateway: gateway.health.Check, HEALTH))
        except CallFailed:
            return False

    def _events(
        self, request: inference_pb2.GenerateRequest, timeout: float | None, wait_when_busy: bool
    ) -> Generator[Event, None, None]:
        reading = Reading(request, time.monotonic(), timeout, self._patience, wait_when_busy)
        gateways = from_next(self._gateways, self._serial)
        gateway = next(gateways)
        try:
            while not reading.over:
                self._open[reading] = gateway
                try:
                    yield from self._stream(reading, gateway)
                except CallFailed as failure:
                    if self._closed.wait(reading.fail(failure, time.monotonic(), random.random())):
                        raise
                    gateway = next(gateways)
        finally:
            if self._open.pop(reading, None):
                self._abandon(reading, gateway)

    def _stream(self, reading: Reading, gateway: _Gateway) -> Generator[Event, None, None]:
        call = gateway.inference.Generate(
            reading.ask(), timeout=reading.seconds_left(time.monotonic()), metadata=self._metadata
        )
        try:
            with translated():
                for response in call:
                    event = reading.hear(event_of(response), time.monotonic())
                    if event is not None:
                        yield event
            reading.check_over()
        finally:
            call.cancel()

    def _abandon(self, reading: Reading, gateway: _Gateway) -> None:
        """Has a request end that its gateway would otherwise keep for whoever resumes it."""
        self._open.pop(reading, None)
        if reading.kept:
            request = control_pb2.AbortRequest(request_id=reading.name)
            abort = gateway.control.Abort.future(request, timeout=ABORT_SECONDS, metadata=self._metadata)
            self._aborts.add(abort)
            abort.add_done_callback(self._aborts.discard)

    def _ask(
        self, method: "Callable[[_Gateway], grpc.UnaryUnaryMultiCallable[Any, R]]", request: Message
    ) -> R:
        for gateway in self._gateways:
            try:
                with translated():
                    return method(gateway)(request, timeout=UNARY_SECONDS, metadata=self._metadata)
            except CallFailed as failure:
                if failure.code not in NOBODY or gateway is self._gateways[-1]:
                    raise
        raise AssertionError("there is at least one gateway")
