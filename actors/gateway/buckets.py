"""A bucket of tokens that fills as time goes by: what a limit a minute means."""

from dataclasses import dataclass


@dataclass
class Bucket:
    """Holds what is allowed in a minute, and may owe some. `actors/ledger/scripts.py` has the same in
    Redis."""

    level: float | None = None  # tokens, at `at`; None: full
    at: float = 0.0  # seconds

    def missing(self, tokens: float, a_minute: float, now: float) -> float:
        """Seconds until so many may be taken, 0 for now. Of more than a bucket holds a full one will do."""
        return max(0.0, min(tokens, a_minute) - self._filled(a_minute, now)) * 60.0 / a_minute

    def take(self, tokens: float, a_minute: float, now: float) -> None:
        """Takes so many, or gives them back where it is less than 0."""
        self.level = self._filled(a_minute, now) - tokens
        self.at = now

    def _filled(self, a_minute: float, now: float) -> float:
        if self.level is None:
            return a_minute
        return min(a_minute, self.level + max(0.0, now - self.at) * a_minute / 60.0)
