"""What a gateway counts of its requests: plain numbers, of which `metrics.py` makes what is asked for."""

import logging
import time
from collections import Counter, deque

from ringroad.actors.errors import RingroadError
from ringroad.actors.gateway.session import Session
from ringroad.actors.gateway.tallies import SPEAKERS, Tallies
from ringroad.actors.messages import Finish, Mode, Speaker

_log = logging.getLogger(__name__)
UNFINISHED = "unfinished"  # though it is not generated here any more: another may go on with it
_WINDOW_SECONDS = 10.0  # over which a rate is told
_REASONS: dict[type[RingroadError], str] = {}  # a class names itself but once


class Measures:
    """Of one gateway, since it started."""

    def __init__(self) -> None:
        self.modes = {mode: Tallies() for mode in Mode}
        self.refusals: Counter[str] = Counter()
        self.failovers: Counter[str] = Counter()
        self.committed = 0  # tokens
        self._marks: deque[tuple[float, int]] = deque()  # seconds, and tokens committed by then

    def placed(self, session: Session) -> None:
        """It is generated from now on; of what was placed before, nothing is new."""
        if (waited := session.placed()) is not None:
            mode = session.tallies = self._of(session)
            mode.queue.observe(waited)
            mode.prompt += len(session.record.submit.prompt)

    def heard(self, session: Session, before: int) -> None:
        """A router has committed what its transcript has beyond `before` tokens."""
        mode, now = session.tallies or self._of(session), time.monotonic()
        drafted, consults = session.news()
        mode.drafted += drafted
        mode.consults += consults
        fresh = session.transcript.speakers[before:]
        if not fresh:
            return
        self.committed += len(fresh)
        for i, speaker in enumerate(SPEAKERS):
            mode.spoken[i] += fresh.count(speaker)  # which compares by identity: hashing them would cost more
        if session.latest is not None:
            mode.between.observe((now - session.latest) / len(fresh), len(fresh))
        elif not before:  # else another gateway had the first
            mode.first.observe(now - session.received)
        session.latest = now

    def ended(self, session: Session) -> None:
        """It has ended, or is not generated here any more."""
        mode, ending = self._of(session), session.transcript.ending
        gone = not session.readers and not session.resumable  # the client, and nobody can ask for it again
        left = Finish.CANCELLED.value if gone else UNFINISHED
        finish = left if ending is None else ending.finish.value
        mode.finished[finish] += 1
        if _log.isEnabledFor(logging.INFO):
            _log.info("request %s: %s", session.request_id, finish, extra=_said(session, finish))
        if ending is None:
            return
        mode.total.observe(ending.total)
        if ending.length:
            mode.large.observe(ending.counts.large / ending.length)
        self.failovers.update(ending.counts.degraded)

    def refused(self, error: RingroadError) -> None:
        """Somebody was told an error in place of a text, or within it."""
        reason = reason_of(type(error))
        self.refusals[reason] += 1
        _log.info("refused: %s", reason, extra={"reason": reason})  # its words may be the client's

    def mark(self) -> None:
        """Called now and then, for the rate."""
        now = time.monotonic()
        self._marks.append((now, self.committed))
        while now - self._marks[0][0] > _WINDOW_SECONDS:
            self._marks.popleft()

    def tokens_per_second(self) -> float:
        """Committed over the last seconds."""
        self.mark()
        (since, before), (now, _) = self._marks[0], self._marks[-1]
        return (self.committed - before) / (now - since) if now > since else 0.0

    def spoken(self, speaker: Speaker) -> int:
        """Tokens by one of them."""
        return sum(mode.spoken[SPEAKERS.index(speaker)] for mode in self.modes.values())

    def _of(self, session: Session) -> Tallies:
        return self.modes[session.record.submit.mode]


def reason_of(error: type[RingroadError]) -> str:
    """The name of an error, as labels have it."""
    if error not in _REASONS:
        name = error.__name__
        _REASONS[error] = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
    return _REASONS[error]


def _said(session: Session, finish: str) -> dict[str, object]:
    """What a log is told of a request: names and numbers."""
    submit, ending = session.record.submit, session.transcript.ending
    said: dict[str, object] = {
        "request_id": session.request_id,
        "mode": submit.mode.value,
        "finish": finish,
        "prompt_tokens": len(submit.prompt),
        "tokens": len(session.transcript),
        "seconds": round(time.monotonic() - session.received, 6),
    }
    if ending is not None:
        said |= {"first_token_seconds": round(ending.first_token, 6), "degraded": ending.counts.degraded}
    if trace := session.trace_id:
        said["trace_id"] = trace
    return said
