"""Clients: they ask, read, lose their streams or leave them, and ask again where they stopped."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ringroad.actors.errors import RingroadError, TooBusy, Unavailable
from ringroad.actors.gateway.naming import Unknown
from ringroad.v1 import inference_pb2
from tests.simulation.schedule import Ask

if TYPE_CHECKING:
    from tests.simulation.gateway import GatewayProcess
    from tests.simulation.world import World

EXPIRED = 0.11  # seconds before its deadline in which a stream that is left counts as too late
BACKOFF = 0.15  # seconds
Response = inference_pb2.GenerateResponse


@dataclass
class Reader:
    """What a client has read of its text, through all its streams."""

    ask: Ask
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    last: list[inference_pb2.Final] = field(default_factory=list)  # terminal messages
    errors: list[str] = field(default_factory=list)
    lost: bool = False  # with its gateway; it cannot be resumed
    left: bool = False  # the client wants no more of it
    anew: bool = False  # nobody knew it any more, and it was asked for once more

    @property
    def over(self) -> bool:
        """Nothing more is to come."""
        return bool(self.last) or self.lost


class Stream:
    """What a servicer gets as its gRPC context: one stream of a client."""

    def __init__(self, world: "World", gateway: "GatewayProcess", reader: Reader, offset: int) -> None:
        self._world, self._gateway, self._reader = world, gateway, reader
        self._next = offset
        self._started = world.loop.time()

    def time_remaining(self) -> float | None:
        deadline = self._reader.ask.deadline
        return None if deadline is None else self._started + deadline - self._world.loop.time()

    async def send_initial_metadata(self, _: object) -> None:
        pass

    async def write(self, response: Response) -> None:
        while self._gateway.stalled:
            await asyncio.sleep(BACKOFF)
        await asyncio.sleep(0.001)
        reader = self._reader
        self._world.say(f"{reader.ask.name} reads {response}".replace("\n", " "))
        if reader.last:
            reader.errors.append("something came after the end")
        elif response.HasField("final"):
            reader.last.append(response.final)
        else:
            self._read(response.delta)

    def _read(self, delta: inference_pb2.Delta) -> None:
        reader, tokens = self._reader, list(delta.token_ids)
        if delta.offset != self._next:
            reader.errors.append(f"token {delta.offset} came after {self._next}")
            return
        known = reader.tokens[self._next : self._next + len(tokens)]
        if known and tokens[: len(known)] != known and not reader.anew:
            reader.errors.append(f"{tokens} came for {known}")
        self._next += len(tokens)
        reader.tokens += tokens[len(known) :]
        reader.text += delta.text


async def read(world: "World", reader: Reader) -> None:
    """All that a client does."""
    ask = reader.ask
    draw = random.Random(f"{world.schedule.seed} client {ask.name}")
    await asyncio.sleep(ask.at)
    leaves = list(ask.leaves)
    until = None if ask.cancelled is None else world.loop.time() + ask.cancelled
    started = False  # whether a gateway may know of it
    while not reader.over:
        gateway = world.gateway(draw)
        if gateway is None:
            await asyncio.sleep(BACKOFF)
            continue
        request = ask.resumed(len(reader.tokens)) if reader.tokens and ask.resumable else ask.request()
        if not request.HasField("resume"):
            reader.text = ""
        stream = Stream(world, gateway, reader, request.resume.next_offset)
        call = gateway.generate(request, stream)
        started = True
        await _watched(world, reader, call, until, leaves, draw)
        failure = _failure(call)
        if reader.over:
            return
        if isinstance(failure, Unknown) and request.HasField("resume"):
            reader.tokens, reader.anew = [], True
        elif isinstance(failure, RingroadError) and not isinstance(failure, Unavailable | TooBusy):
            reader.errors.append(f"refused: {type(failure).__name__} {failure}")
            reader.lost = True
        elif started and reader.tokens and not ask.resumable:
            reader.lost = True
        else:
            await asyncio.sleep(BACKOFF * (0.5 + draw.random()))


async def _watched(
    world: "World",
    reader: Reader,
    call: "asyncio.Task[None]",
    until: float | None,
    leaves: list[float],
    draw: random.Random,
) -> None:
    """A stream, until it ends or the client leaves it."""
    ask, began = reader.ask, world.loop.time()
    cuts = {began + ask.deadline: "deadline"} if ask.deadline is not None else {}
    if until is not None and not reader.left:
        cuts[max(until, began)] = "cancel"
    if leaves:
        cuts[began + leaves.pop(0)] = "leave"
    for when in sorted(cuts):
        await asyncio.wait({call}, timeout=max(0.0, when - world.loop.time()))
        if call.done():
            return
        world.say(f"{ask.name}: {cuts[when]}")
        if cuts[when] == "cancel":
            reader.left = True
            other = world.gateway(draw)
            if ask.resumable and other is not None:
                told = other.abort(ask.name)
                await asyncio.wait({told})
                # Where no answer need come at all, nobody waits for one that the ledger knows nothing of.
                if _failure(told) is None and (told.result().aborted or not world.schedule.harsh):
                    continue
            reader.lost = True
        elif cuts[when] == "deadline":
            reader.left = reader.lost = True
        elif ask.deadline is not None and began + ask.deadline - when < EXPIRED:
            reader.left = True  # the gateway takes it for that
        await _cut(call)
        return
    await asyncio.wait({call})


async def _cut(call: "asyncio.Task[None]") -> None:
    call.cancel()
    await asyncio.wait({call})


def _failure(call: "asyncio.Task[None]") -> BaseException | None:
    return asyncio.CancelledError() if call.cancelled() else call.exception()
