"""One request at this gateway."""

import asyncio
import time

import msgspec

from ringroad.actors.gateway.fair import Flow
from ringroad.actors.gateway.quotas import Charge
from ringroad.actors.gateway.tallies import Tallies
from ringroad.actors.gateway.text import text_of
from ringroad.actors.gateway.transcript import Transcript
from ringroad.actors.ledger.ledger import Ending, Part, Record
from ringroad.actors.messages import Chunk, Counts, Finish, Speaker, Submit
from ringroad.actors.tokenizer import Tokenizer
from ringroad.actors.tracing import below, current, place_of, tell, trace_id_of

GATEWAY, ROUTER = "gateway", "router"


class Session:
    """What is committed of a request, who generates it, and how many read it."""

    def __init__(
        self,
        record: Record,
        tokenizer: Tokenizer,
        *,
        resumable: bool,
        recorded: bool,
        flow: Flow = Flow(),  # noqa: B008  # frozen
        charge: Charge | None = None,
    ) -> None:
        """resumable: goes on without readers for a while. recorded: the ledger is told of it."""
        self.flow = flow
        self.charge = charge  # where its tenant has a quota, and it was begun here
        self.record = record
        self.resumable = resumable
        self.recorded = recorded
        self.transcript = Transcript(text_of(record, tokenizer) if record.stops else None)
        self.noted = 0  # tokens that the ledger was told of
        self.name = ""  # the router's for it; empty: no router has it
        self.cancelled: Finish | None = None  # why it is to end
        self.settling: asyncio.TimerHandle | None = None
        self.readers = 0
        self.leaving: asyncio.TimerHandle | None = None  # until it is given up without readers
        self.follower: asyncio.Task[None] | None = None  # another gateway generates it
        self._earlier = Counts()  # under names that it had before
        self._counts = Counts()  # under this one
        self._told = Counts()  # of these, what `news` has given
        self._span = current()  # of the call that asks for it
        self._queue = below(self._span, "queue")
        self._waits = True  # for a place
        self.tallies: Tallies | None = None  # that it counts in, once it is generated
        self.received = time.monotonic()
        self.latest: float | None = None  # when tokens came last from a router
        self._first: float | None = None
        self._at: dict[str, int] = {}  # by role, the replicas that had it last

    @property
    def request_id(self) -> str:
        """Its name here and in the ledger: `naming.name_of`."""
        return self.record.submit.session

    @property
    def trace_id(self) -> str:
        """Of the call that asked for it; empty where that is not traced."""
        return trace_id_of(self._span)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.transcript.over

    def submit(self, name: str) -> Submit:
        """What a router needs to begin it, or to go on with it, under a new name."""
        self.name = name
        return msgspec.structs.replace(
            self.record.submit,
            session=name,
            trace=place_of(self._span),
            committed=self.transcript.tokens.tolist(),
            speakers=list(self.transcript.speakers),
            at=self._at,
        )

    def placed(self) -> float | None:
        """It is generated from now on: seconds that it waited for that; None where it was before."""
        if not self._waits:
            return None
        self._waits = False
        if self._queue is not None:
            self._queue.end()
        return time.monotonic() - self.received

    def news(self) -> tuple[int, int]:
        """Guesses and consults since this was asked last."""
        counts, told = self._counts, self._told
        if counts is told:
            return 0, 0
        self._told = counts
        return counts.drafted - told.drafted, counts.consults - told.consults

    def put(self, chunk: Chunk) -> None:
        """Takes in what was committed. Raises Gap."""
        if chunk.counts is not None:
            self._counts = chunk.counts
        self._at = chunk.at or self._at
        if chunk.tokens and self._first is None:
            self._first = time.monotonic()
        self.transcript.put(chunk.offset, chunk.tokens, chunk.speakers, chunk.logprobs)

    def read_back(self, part: Part) -> None:
        """Takes in what the ledger says of it. Raises Gap."""
        count = len(part.tokens) if part.ending is None else part.ending.length - part.offset
        self.transcript.put(part.offset, part.tokens[:count], part.speakers[:count])
        self.noted = len(self.transcript)
        if part.ending is not None:
            self.transcript.end(part.ending)

    def taken_up(self) -> None:
        """Another gateway had it, which is gone with what it had counted."""
        self.follower = None
        self.noted = 0  # the ledger is told of all of it again
        self._earlier = Counts(degraded=[GATEWAY])
        tell(self._span, "failover", role=GATEWAY)

    def unnamed(self, lost: bool) -> None:
        """No router has it any more; `lost`: for the router is gone."""
        self._earlier = _sum(self._earlier, self._counts)
        if lost and ROUTER not in self._earlier.degraded:
            self._earlier = msgspec.structs.replace(self._earlier, degraded=[*self._earlier.degraded, ROUTER])
        self._counts = self._told = Counts()
        self.name = ""
        if lost:
            tell(self._span, "failover", role=ROUTER)

    def end(self, finish: Finish, error: str = "") -> None:
        """Ends it, unless it has ended."""
        self.placed()  # or will never be
        now, spoken = time.monotonic(), self.transcript.speakers
        if self.transcript.stops_at_the_end():
            finish, error = Finish.STOP, ""
        counts = msgspec.structs.replace(
            _sum(self._earlier, self._counts),
            kept=spoken.count(Speaker.SMALL_KEPT),
            accepted=spoken.count(Speaker.SMALL_ACCEPTED),
            large=spoken.count(Speaker.LARGE),
        )
        first = now if self._first is None else self._first
        times = (first - self.received if spoken else 0.0, now - self.received)
        self.transcript.end(Ending(finish, len(spoken), counts, error, *times))


def _sum(earlier: Counts, later: Counts) -> Counts:
    """What two routers did; who spoke what is committed is counted elsewhere."""
    degraded = [role for role in later.degraded if role not in earlier.degraded]
    return Counts(
        drafted=earlier.drafted + later.drafted,
        consults=earlier.consults + later.consults,
        degraded=earlier.degraded + degraded,
        fallbacks=earlier.fallbacks + later.fallbacks,
    )
