"""The real gateway without gRPC: requests and answers are protobuf, the link and the ledger are simulated."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from ringroad.actors.gateway.config import GatewayConfig, Pair, Policies
from ringroad.actors.gateway.link import LinkLost
from ringroad.actors.gateway.server import Gateway
from ringroad.actors.messages import Cancel, Chunk, Hello, Message, Submit, ToGateway, ToRouter
from ringroad.actors.tokenizer import Tokenizer
from ringroad.v1 import control_pb2, inference_pb2
from tests.simulation.ledger import Handle
from tests.simulation.models import TINY, VOCABULARY
from tests.simulation.network import Connection
from tests.simulation.processes import Caller
from tests.simulation.schedule import BREAKS, THRESHOLDS, TOKEN_ENDS
from tests.simulation.text import bytes_of

if TYPE_CHECKING:
    from tests.simulation.clients import Stream
    from tests.simulation.world import World

PAIR = Pair(name="tiny", large="large", small="small", context_length=TINY.context, vocabulary=VOCABULARY)
POLICIES = Policies("margin", THRESHOLDS)
RESUME = 2.0  # seconds that a request goes on without readers


class Letters:
    """As much of a tokenizer as requests in tokens need."""

    vocabulary, context_length, ends = VOCABULARY, TINY.context, sorted(TOKEN_ENDS)

    def bytes_of(self, token: int) -> bytes:
        return bytes_of(token)

    def containing(self, run: bytes) -> list[int]:
        return BREAKS


class Lost:
    """In the inbox: here the router was lost."""


class GatewayProcess(Caller):
    """A gateway; it is its own link to the router, as `AsyncSpoke` is in a cluster."""

    speaks = "gateway"

    def __init__(self, world: "World", name: str, life: int) -> None:
        self._inbox: deque[Message | Lost] = deque()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.silent_since: float | None = None
        self._lost = False  # its router, and it has not asked for another
        self._cancelled: set[str] = set()  # names that a router was told to end
        super().__init__(world, name, life)
        self.handle = Handle(world.ledger, self)
        config = GatewayConfig(
            max_sessions=world.schedule.places,
            max_waiting=2,
            settle_seconds=0.5,
            retry_seconds=0.05,
            router_seconds=14.0,
            resume_seconds=RESUME,
        )
        tokenizer = cast(Tokenizer, Letters())
        self.gateway = Gateway(config, PAIR, tokenizer, self, POLICIES, "simulated", self.handle)
        self.gateway._health = SimpleNamespace(set=_nothing)  # type: ignore[assignment]
        self.spawn(self.gateway._listen())
        self.spawn(self.gateway._resuming.hear_aborts())

    def hello(self) -> Hello:
        return Hello(role="gateway")

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Something that ends with this process."""
        task = self.world.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def crash(self) -> None:
        super().crash()
        self.silent_since = self.now
        for task in list(self._tasks):
            task.cancel()

    def stall(self) -> None:
        super().stall()
        self.silent_since = self.now

    def wake(self) -> None:
        self.silent_since = None
        super().wake()

    def generate(self, request: inference_pb2.GenerateRequest, stream: "Stream") -> asyncio.Task[Any]:
        """A call of a client's."""
        return self.spawn(self._door("InferenceService").Generate(request, cast(Any, stream)))

    def abort(self, request_id: str) -> asyncio.Task[Any]:
        """Another."""
        request = control_pb2.AbortRequest(request_id=request_id)
        return self.spawn(self._door("ControlService").Abort(request, cast(Any, None)))

    def _door(self, service: str) -> Any:
        return next(door for known, door in self.gateway._doors.items() if known.name == service)

    async def send(self, message: ToRouter) -> None:
        """As a `RouterLink`."""
        if not self.connections():
            raise LinkLost("simulated")
        if isinstance(message, Submit):
            self._check(message)
        if isinstance(message, Cancel):
            self._cancelled.add(message.session)
        self.later(0.0, self._tell, message) if self.stalled else self._tell(message)

    async def receive(self) -> ToGateway:
        """As a `RouterLink`."""
        while not self._inbox:
            if self._lost:
                self._lost = False
                self.links[0].call_again()
            self._news.clear()
            await self._news.wait()
        message = self._inbox.popleft()
        if isinstance(message, Lost):
            raise LinkLost("simulated")
        return cast(ToGateway, message)

    def _check(self, submit: Submit) -> None:
        """Nothing that is known of a text is generated again."""
        session = self.gateway._sessions.find(submit.session.split("~")[0])
        if session is not None and len(submit.committed) < len(session.transcript):
            self.world.wrong(f"{self.name} has {submit.session} begun anew")

    def _tell(self, message: ToRouter) -> None:
        for connection in self.connections():
            connection.up.send([message])

    def take(self, connection: Connection, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, Chunk) and message.finish is None:
                self._wanted(message.session)
        self._inbox.extend(messages)
        self._news.set()

    def _wanted(self, name: str) -> None:
        """Nothing is generated for nobody: whoever leaves a session has its router end it."""
        routes = self.gateway._sessions._routes
        told = self._cancelled | {each.session for each in routes._outbox if isinstance(each, Cancel)}
        if name not in routes._routed and name not in told:
            self.world.wrong(f"{self.name} is sent {name}, which it left without a word")

    def parted(self, connection: Connection) -> None:
        self._inbox.append(Lost())
        self._lost = True
        self._news.set()

    def calls_again(self) -> bool:
        """Not before it asks for another."""
        return False

    def held(self) -> dict[str, object]:
        """What it still holds of requests."""
        sessions = self.gateway._sessions
        routes, places = sessions._routes, sessions._places
        return {
            "known": [name for name in sessions._known if name not in sessions._kept],
            "leaving": [name for name, each in sessions._kept.items() if each.leaving is not None],
            "routed": routes._routed,
            "stranded": routes._stranded,
            "outbox": routes._outbox,
            "places": places._held,
            "line": [*places._line, *places._waits],
            "streams": range(sessions._streams),
            "settling": [each for each in sessions._known.values() if _ticks(each.settling)],
        }


def _ticks(timer: asyncio.TimerHandle | None) -> bool:
    return timer is not None and not timer.cancelled() and timer.when() > asyncio.get_event_loop().time()


async def _nothing(*_: object) -> None:
    pass
