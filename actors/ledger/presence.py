"""Whether the ledger is there, said once when that changes."""

import logging

from redis.exceptions import RedisError

log = logging.getLogger(__name__)

ERRORS = (RedisError, OSError)  # what a server that is away, full or wrongly configured comes to
_FIRST_SECONDS, _LAST_SECONDS = 0.1, 2.0


def reason(error: Exception) -> str:
    """For people. Redis repeats nothing of what it was sent, except names of commands."""
    return f"{type(error).__name__}: {error}"


class Presence:
    """Counts the failures in a row."""

    def __init__(self) -> None:
        self.there = False
        self._said: set[str] = set()  # reasons told since it was there last
        self._pause = 0.0

    def answered(self) -> None:
        """It took what it was given."""
        if not self.there:
            log.info("the ledger is there")
        self.there = True
        self._said.clear()
        self._pause = 0.0

    def failed(self, error: Exception) -> float:
        """How many seconds to leave it alone."""
        self.there = False
        kind = type(error).__name__
        if kind not in self._said:
            log.warning("the ledger is away, no stream can be resumed meanwhile: %s", reason(error))
            self._said.add(kind)
        self._pause = min(max(2 * self._pause, _FIRST_SECONDS), _LAST_SECONDS)
        return self._pause
