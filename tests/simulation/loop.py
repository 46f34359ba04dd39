"""An event loop without a clock or sockets of its own: time is where the next callback is due."""

import asyncio
from typing import Any

TURNS = 100_000  # of a loop: worlds take some hundreds


class Stuck(BaseException):
    """Nothing is due any more though the loop was not told to stop; or there is no end of it."""


class Loop(asyncio.BaseEventLoop):
    """Runs what asyncio runs, callback after callback, and never waits. Times are seconds from its start."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = 0
        self._selector = self  # what BaseEventLoop waits with
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._now

    def begin_again(self) -> None:
        """Allows as many turns as at first."""
        self._turns = 0

    def select(self, timeout: float | None) -> list[Any]:
        """As a selector's: nothing ever arrives from outside."""
        if timeout is None:
            raise Stuck("nothing is due any more")
        self._turns += 1
        if self._turns > TURNS:
            raise Stuck("this goes on and on")
        self._now += timeout
        return []

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
