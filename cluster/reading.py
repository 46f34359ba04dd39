"""One request as its client reads it, over however many streams that takes. No connection, no clock.

The shells in client.py ask `Reading` what to send, hand it what they hear, and wait as long as it says.
"""

import secrets
import uuid
from enum import Enum, auto
from math import inf
from typing import NamedTuple

import grpc

from ringroad.cluster.wire import CallFailed, Event
from ringroad.v1 import inference_pb2
from ringroad.v1.inference_pb2 import Delta

_LEAST_SECONDS, _MOST_SECONDS = 0.02, 2.0  # between two tries: doubled from one to the other
_CONNECTION = {grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


class Patience(NamedTuple):
    """How long failures may go on, in seconds."""

    begin: float = 5.0  # before the first token of a text
    resume: float = 60.0  # without a new token, where the request has no deadline


class Course(Enum):
    """What to do after a stream has failed."""

    AGAIN = auto()  # the same request under the same name: the same generation
    RESUME = auto()  # the rest, under the same name
    ANEW = auto()  # the same request under another name, since nobody knows it any more
    WAIT = auto()  # the same request, when the gateway said
    GIVE_UP = auto()  # the failure is the caller's


def course(failure: CallFailed, *, begun: bool, resuming: bool, wait_when_busy: bool) -> Course:
    """`begun`: tokens came under the request's name; `resuming`: what failed was asking for the rest.

    A gateway's own word is told from a connection's by its details: INTERNAL of the one is a bug that
    happens again, of the other a reset.
    """
    on = Course.RESUME if begun else Course.AGAIN
    match failure.code:
        case grpc.StatusCode.UNAVAILABLE:
            return on
        case code if code in _CONNECTION and not failure.spoken:
            return on
        case grpc.StatusCode.NOT_FOUND if resuming:
            return Course.ANEW
        case grpc.StatusCode.RESOURCE_EXHAUSTED if wait_when_busy and failure.retry_seconds is not None:
            return Course.WAIT
    return Course.GIVE_UP


def backoff(tries: int, share: float) -> float:
    """Seconds to wait after so many tries in vain, at least 1; `share` from 0 to 1 spreads clients out."""
    return min(_MOST_SECONDS, _LEAST_SECONDS * 2.0 ** min(tries - 1, 30)) * (1 + share) / 2


class Reading:
    """What was heard of a request, and what is to be asked next.

    A text that is resumed is asked for from the last delta on, not from behind it: whether text that a
    gateway had held back came with that delta or was still to come, its text alone tells.
    """

    def __init__(
        self,
        request: inference_pb2.GenerateRequest,
        now: float,
        timeout: float | None,
        patience: Patience,
        wait_when_busy: bool,
    ) -> None:
        """`now` on the caller's clock, all in seconds. Draws the request's name and seed where unset."""
        self.over = False  # nothing more is to be asked
        self._whole = inference_pb2.GenerateRequest()
        self._whole.CopyFrom(request)
        self._whole.request_id = request.request_id or _new_name()
        if not request.sampling.HasField("seed"):
            self._whole.sampling.seed = secrets.randbits(64)
        self._deadline = None if timeout is None else now + timeout
        self._patience = patience
        self._wait_when_busy = wait_when_busy
        self._progress = now  # when the last new token came
        self._tries = 0  # in vain, since then
        self._ids: list[int] = []  # handed out
        self._characters = 0  # handed out
        self._kept = _Place(0, 0)  # where to resume: the start of the last delta
        self._at = _Place(0, 0)  # what the stream brings next
        self._begun = False  # a delta came under this name
        self._resuming = False

    @property
    def name(self) -> str:
        """What gateways call the request."""
        return self._whole.request_id

    @property
    def kept(self) -> bool:
        """Whether a gateway may go on with it for whoever resumes it."""
        return not self.over and self._whole.resumable

    def seconds_left(self, now: float) -> float | None:
        """Until the deadline, at least 0."""
        return None if self._deadline is None else max(0.0, self._deadline - now)

    def ask(self) -> inference_pb2.GenerateRequest:
        """What to send now: all of it, or its name and where to go on."""
        self._at = self._kept
        self._resuming = self._begun
        if not self._begun:
            return self._whole
        return inference_pb2.GenerateRequest(
            request_id=self.name,
            resumable=True,
            resume=inference_pb2.Resume(next_offset=self._kept.tokens),
        )

    def hear(self, event: Event, now: float) -> Event | None:
        """What of it is new, if anything. Raises CallFailed where it does not go on from what was heard."""
        if not isinstance(event, Delta):
            self.over = True
            return event
        if event.offset != self._at.tokens:
            raise self._broken(f"token {self._at.tokens} was expected, and {event.offset} came")
        again = self._ids[event.offset : event.offset + len(event.token_ids)]
        if event.token_ids[: len(again)] != again:
            raise self._broken("generated anew, the text is another one than before its stream broke")
        ids, text = event.token_ids[len(again) :], event.text[self._characters - self._at.characters :]
        self._begun, self._kept = True, self._at
        self._at = _Place(event.offset + len(event.token_ids), self._at.characters + len(event.text))
        if not ids and not text:
            return None
        self._ids += ids
        self._characters += len(text)
        self._progress, self._tries = now, 0
        if not again and text == event.text:
            return event
        speakers = event.speakers[len(again) :]
        logprobs = event.logprobs[len(again) :]
        return Delta(
            text=text, token_ids=ids, offset=event.offset + len(again), speakers=speakers, logprobs=logprobs
        )

    def check_over(self) -> None:
        """A stream has ended well. Raises CallFailed where the final has not come."""
        if not self.over:
            raise CallFailed(grpc.StatusCode.UNAVAILABLE, "the stream ended without a final", {})

    def fail(self, failure: CallFailed, now: float, share: float) -> float:
        """Takes in why a stream ended; how many seconds to wait before asking again. `share` as `backoff`
        has it. Raises the failure where asking again is of no use, or has been for too long."""
        wait_when_busy = self._wait_when_busy or bool(self._ids)  # half a text is not given up for a place
        way = course(failure, begun=self._begun, resuming=self._resuming, wait_when_busy=wait_when_busy)
        if way is Course.GIVE_UP or not self._whole.resumable:
            self.over = failure.code is not grpc.StatusCode.DEADLINE_EXCEEDED
            raise failure
        if way is Course.ANEW:
            self._whole.request_id = _new_name()
            self._kept, self._begun = _Place(0, 0), False
        self._tries += 1
        wait = backoff(self._tries, share)
        if way is Course.WAIT:
            wait = max(wait, failure.retry_seconds or 0.0)
            if self._wait_when_busy:
                self._progress = now + wait  # a wait in line is no failure
        if now + wait >= self._until():
            raise failure
        return wait

    def _until(self) -> float:
        """When to give up, on the caller's clock."""
        deadline = inf if self._deadline is None else self._deadline
        if not self._ids:
            return min(deadline, self._progress + self._patience.begin)
        return self._progress + self._patience.resume if self._deadline is None else deadline

    def _broken(self, why: str) -> CallFailed:
        return CallFailed(grpc.StatusCode.DATA_LOSS, f"request {self.name}: {why}", {}, spoken=True)


class _Place(NamedTuple):
    """In a text."""

    tokens: int
    characters: int


def _new_name() -> str:
    return uuid.uuid4().hex
