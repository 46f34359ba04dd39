"""How roles reach their routers: msgspec messages over ZeroMQ, 25 microseconds a hop.

What belongs together travels together: a frame is a list of messages. The answers of one step
arrive as one, and so do the questions that they lead to, which the next step can then take in at once.

A router is a `Hub`. Roles that compute are `Spoke`s, each with a link to every router; a gateway is an
`AsyncSpoke`, which has one link, and another when that is lost. Beside each link's messages there is a
lifeline (`lifeline.py`), by which both ends notice at once that the other has died; who is stopped or cut
off is noticed by its missing heartbeat. A link that was lost is never mended: there will be another, under
a name of its own, and what comes under an old name is dropped.
"""

from typing import NamedTuple


class Pulse(NamedTuple):
    """How it is noticed that the other end is stopped or cut off; `router/config.py` has the reasons."""

    heartbeat_seconds: float = 0.2
    lost_after_seconds: float = 1.0  # of silence

    @property
    def missed(self) -> int:
        """Heartbeats without a word after which the other end is lost.

        Counted, not timed: while this end is stopped itself nobody else has been silent.
        """
        return max(1, round(self.lost_after_seconds / self.heartbeat_seconds))


PULSE = Pulse()
