"""Places for requests that are generated, and a line of those that wait for one: both bounded."""

import asyncio
from collections.abc import Callable, Hashable

from ringroad.actors.errors import TooBusy

_RETRY_SECONDS = (1.0, 60.0)  # least and most that a client is told to wait


class Places:
    """First come, first served."""

    def __init__(self, places: int, line: int) -> None:
        self._places = places
        self._longest = line
        self._held: dict[Hashable, float] = {}  # since when, in seconds of the event loop's clock
        self._line: dict[Hashable, Callable[[], None]] = {}  # what to call when its place has come
        self._held_seconds: float | None = None  # moving average over all that left; None: nobody yet

    @property
    def held(self) -> int:
        """Places that are taken."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._line)

    def check(self, patience: float | None, count: int = 1) -> None:
        """Raises TooBusy where the line has no room for so many more, or is too long for who can wait
        `patience` seconds."""
        more = len(self._line) + count - (self._places - len(self._held))  # that will have to wait
        if more <= 0:
            return
        wait = self._wait(more)
        if more > self._longest:
            raise TooBusy("every place and the line for them are full", _bounded(wait))
        if patience is not None and self._held_seconds is not None and patience < wait:
            raise TooBusy("the deadline would pass before there is a place", _bounded(wait))

    def enter(self, who: Hashable, placed: Callable[[], None]) -> None:
        """Takes a place, or one in the line; `placed` is called once there is one, maybe at once."""
        if len(self._held) < self._places:
            self._place(who, placed)
        else:
            self._line[who] = placed

    def leave(self, who: Hashable) -> None:
        """Gives back what it has, a place or one in the line; nothing is fine, too."""
        self._line.pop(who, None)
        since = self._held.pop(who, None)
        if since is None:
            return
        held = asyncio.get_running_loop().time() - since
        average = held if self._held_seconds is None else self._held_seconds
        self._held_seconds = average + 0.1 * (held - average)
        if self._line:
            following = next(iter(self._line))
            self._place(following, self._line.pop(following))

    def _place(self, who: Hashable, placed: Callable[[], None]) -> None:
        self._held[who] = asyncio.get_running_loop().time()
        placed()

    def _wait(self, line: int) -> float:
        """Seconds that the last of so long a line waits, as places have been held so far."""
        held = 1.0 if self._held_seconds is None else self._held_seconds
        return held * line / self._places


def _bounded(wait: float) -> float:
    least, most = _RETRY_SECONDS
    return min(max(wait, least), most)
