"""The engines of a ring: the first rank's, which a role rents, and those that do as it does."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from msgspec.msgpack import encode
from torch import Tensor

from ringroad.actors.engine.cache import Kept, Span
from ringroad.actors.engine.engine import Engine, Outcome, Passed, Work
from ringroad.actors.engine.ring import calls
from ringroad.actors.engine.ring.model import RingModel
from ringroad.actors.messages import Sampling
from ringroad.kernels.head import Head
from ringroad.kernels.ring.communicator import RingBroken

log = logging.getLogger(__name__)


class FirstEngine(Engine):
    """An engine that has the other ranks do what it does. Not before a step, which all take part in: what
    comes before goes with it."""

    def __init__(
        self, model: RingModel, cache_bytes: int, tell: Callable[[bytes], None], head: Head | None = None
    ) -> None:
        super().__init__(model, cache_bytes, head)
        self._tell = tell
        self._untold: list[calls.Call] = []
        self._inside = False

    def open(self, session: str, sampling: Sampling, expected: int = 0, salt: bytes = b"") -> None:
        with self._told(calls.Open(session, sampling, expected, salt)):
            super().open(session, sampling, expected, salt)

    def close(self, session: str) -> None:
        with self._told(calls.Close(session)):
            super().close(session)

    def adopt(self, session: str, text: Sequence[int]) -> int:
        with self._told(calls.Adopt(session, list(text))):
            return super().adopt(session, text)

    def reserve(self, work: Work, givers: Iterable[str] = ()) -> None:
        givers = list(givers)
        with self._told(calls.Reserve(work, givers)):
            super().reserve(work, givers)

    def settle(self, session: str, length: int) -> None:
        with self._told(calls.Settle(session, length)):
            super().settle(session, length)

    def truncate(self, session: str, length: int) -> None:
        with self._told(calls.Truncate(session, length)):
            super().truncate(session, length)

    def keep(self, session: str, path: Sequence[int]) -> None:
        with self._told(calls.Keep(session, list(path))):
            super().keep(session, path)

    def step(self, batch: Sequence[Work]) -> list[Outcome]:
        """As an engine's. Raises RingBroken, after which nothing here is of use."""
        with self._told(calls.Step(list(batch))):
            untold, self._untold = self._untold, []
            self._tell(encode(untold))
            outcomes = super().step(batch)
            self._untold.append(calls.Stand())
            return outcomes

    def _forward(self, tokens: Tensor, positions: Tensor, spans: Sequence[Span[Kept]]) -> Tensor:
        try:
            return super()._forward(tokens, positions, spans)
        except RingBroken:
            raise
        except Exception as error:  # the others are waiting in the middle of theirs
            raise RingBroken(0, f"{type(error).__name__} in a pass") from error

    @contextmanager
    def _told(self, call: calls.Call) -> Iterator[None]:
        """Only what the role calls: what a call makes of it, the others do by themselves."""
        outer = not self._inside
        if outer:
            self._untold.append(call)
        self._inside = True
        try:
            yield
        finally:
            self._inside = not outer


class OtherEngine(Engine):
    """An engine that computes its rows, draws nothing, and keeps what it is told to."""

    _passed: tuple[Sequence[Work], Passed] | None = None
    _warned: frozenset[tuple[type, type]] = frozenset()  # calls and errors that were met

    def follow(self, told: Iterator[bytes]) -> None:
        """Does what it is told, to the end of it. Raises RingBroken."""
        for message in told:
            for call in calls.CALLS.decode(message):
                try:
                    call.apply(self)
                except RingBroken:
                    raise
                except Exception as error:  # as at the first rank, where a session is told
                    kind = type(call), type(error)
                    if kind in self._warned:  # a full cache may fail a call a step
                        log.debug("%s failed again", type(call).__name__, exc_info=True)
                    else:
                        log.warning(
                            "%s failed at this rank, which goes on", type(call).__name__, exc_info=True
                        )
                    self._warned |= {kind}

    def step(self, batch: Sequence[Work]) -> list[Outcome]:
        """Computes this rank's rows, and keeps none yet."""
        self._passed = None
        with torch.inference_mode():
            self._passed = batch, self._pass(batch)
        return []

    def stand(self) -> None:
        """Keeps what the last step computed."""
        if self._passed is not None:
            self._stay(*self._passed)
            self._passed = None
