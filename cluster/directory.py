"""Where the routers are, and where the ranks of a gang meet.

Routers tell it again and again where they are, so it may die at any time: its successor knows the same within
a second. Nobody needs it who has a link; tokens never wait for it.
"""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

SAY_SECONDS = 1.0  # between a router's words
LEASE_SECONDS = 3.5  # that a word holds
ANSWER_SECONDS = 2.0  # for the directory


class Directory:
    """One per cluster."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._routers: dict[str, float] = {}  # by address, when its word ends
        self._meetings: dict[str, str] = {}
        self._turn = 0

    def here(self, address: str) -> None:
        """A router listens there."""
        self._routers[address] = self._clock() + LEASE_SECONDS

    def left(self, address: str) -> None:
        """That one takes in nobody any more."""
        self._routers.pop(address, None)

    def routers(self) -> list[str]:
        """The addresses of all."""
        now = self._clock()
        self._routers = {address: end for address, end in self._routers.items() if end > now}
        return sorted(self._routers)

    def in_turn(self) -> list[str]:
        """The same, for a gateway, which takes the first: each time another one."""
        self._turn += 1
        there = self.routers()
        first = self._turn % max(1, len(there))
        return there[first:] + there[:first]

    def meeting(self, gang: str, where: str) -> str:
        """Where the ranks of a gang meet; its first rank says it, and nothing is said by those who ask."""
        if where:
            self._meetings[gang] = where
        return self._meetings.get(gang, "")


class Entry:
    """Keeps a router in the directory until it is closed, by a thread: the directory may be slow."""

    def __init__(self, here: Callable[[], None], left: Callable[[], None]) -> None:
        """How the directory is told; both may fail."""
        self._closed = threading.Event()
        self._here, self._left = here, left
        self._thread = threading.Thread(target=self._run, name="directory entry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Takes it out."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            _tried(self._here)
            self._closed.wait(SAY_SECONDS)
        _tried(self._left)


def _tried(tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception as error:  # noqa: BLE001 - the thread's edge: it is told again
        log.warning("the directory was not told: %r", error)
