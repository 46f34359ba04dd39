"""What a forward pass of a peer takes, learnt from the passes it reports."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, log2

from msgspec import structs

from ringroad.actors.messages import Pass

NEWEST = 0.2  # the weight of a new pass in a mean of its like
FLOOR = 0.5  # of the fewest rows' seconds: fewer rows than any seen cost no less
FORGOTTEN = 0.01  # of NEWEST
LATELY = 200.0  # passes ago
OLD = 0.1  # the weight, in passes, of what was seen before that
PATIENCE = 3200  # rounds without a pass of a peer, before it is looked at again
JUST = 10.0  # passes ago, when a machine is found to have changed
LOOKS = 3  # lessons then: the first reads what was missed, and says little of the others
ENOUGH = 3.0  # passes
ALIKE = 1.4  # as a ratio of rows, or of seconds
SURPRISE = 2.0  # how far above its like a pass counts; a hiccup of the machine is no news


@dataclass
class Bucket:
    """Passes of about as many rows."""

    rows: float
    seconds: float
    count: float = 0.0
    seen: float = 0.0  # which pass of all was the last of these

    def observe(self, took: Pass) -> None:
        """Moves towards one more pass, which each of its sessions reports."""
        weight = 1.0 / max(1, took.sessions)
        self.count = min(self.count + weight, 1.0 / NEWEST)
        newest = min(1.0, weight / self.count)
        self.rows += newest * (took.rows - self.rows)
        self.seconds += newest * (took.seconds - self.seconds)


@dataclass
class Curve:
    """Seconds of a pass by its rows: means of like passes, a straight line between, never falling."""

    _buckets: dict[int, Bucket] = field(default_factory=dict)
    _line: list[tuple[float, float]] | None = None  # through the buckets; None: one of them has changed
    _passes: float = 0.0  # so far

    def observe(self, took: Pass) -> None:
        """Takes in one pass."""
        # Every count up to eight is its own; from there on four to an octave.
        key = took.rows if took.rows <= 8 else round(4 * log2(took.rows)) - 4
        bucket = self._buckets.setdefault(key, Bucket(took.rows, took.seconds, seen=self._passes))
        took = structs.replace(took, seconds=min(took.seconds, SURPRISE * bucket.seconds))
        if self._old(bucket) and not _alike(took.seconds, bucket.seconds):
            self._renew(took.seconds, bucket.seconds)
        bucket.observe(took)
        self._passes += 1.0 / max(1, took.sessions)
        bucket.seen = self._passes
        self._line = None

    @property
    def _points(self) -> list[tuple[float, float]]:
        # Every session reports a pass, and few of them ask for the line: it is drawn for who asks.
        if self._line is None:
            self._line = list(_rising(sorted(self._buckets.values(), key=lambda bucket: bucket.rows)))
        return self._line

    def age(self, but: float = 0.0) -> None:
        """What is known is of another time, but for what the last so many passes have shown."""
        for bucket in self._buckets.values():
            if self._passes - bucket.seen >= but:
                bucket.seen -= LATELY + 1.0

    def knows(self, rows: float) -> bool:
        """Whether passes of about so many rows were seen lately."""
        return any(_alike(rows, known) for known in self._known())

    @property
    def least(self) -> float:
        """Fewest rows of which enough passes were seen lately; infinite before."""
        return min(self._known(), default=inf)

    @property
    def most(self) -> float:
        """Rows of the largest pass seen."""
        return self._points[-1][0] if self._points else 0.0

    def at(self, rows: float) -> float:
        """Seconds of a pass of so many rows; 0 while nothing is known."""
        points = self._points
        if not points:
            return 0.0
        if rows >= points[-1][0]:
            i, j = _wide(points, len(points) - 1, -1), len(points) - 1
        elif rows <= points[0][0]:
            i, j = 0, _wide(points, 0, 1)
        else:
            j = next(at for at, (known, _) in enumerate(points) if known >= rows)
            i = j - 1
        (left, low), (right, high) = points[i], points[j]
        slope = (high - low) / (right - left) if right > left else 0.0
        return max(low + slope * (rows - left), FLOOR * points[0][1])

    def slope(self, rows: float) -> float:
        """Seconds a further row costs in a pass of so many: over a wide stretch, since buckets are noisy."""
        if len(self._points) < 2:
            return 0.0
        left, right = max(self._points[0][0], rows / 2.0), max(2.0 * rows, 2.0 * self._points[0][0])
        return (self.at(right) - self.at(left)) / (right - left)

    def _known(self) -> list[float]:
        """Rows of passes of which enough were seen lately."""
        return [b.rows for b in self._buckets.values() if b.count >= ENOUGH and not self._old(b)]

    def _old(self, bucket: Bucket) -> bool:
        return self._passes - bucket.seen > LATELY

    def _renew(self, now: float, then: float) -> None:
        """What is old is taken to have changed as that which is seen again, until it is seen itself."""
        for bucket in filter(self._old, self._buckets.values()):
            bucket.seconds *= now / then if then else 1.0
            bucket.count = OLD


def _alike(one: float, other: float) -> bool:
    return one <= ALIKE * other and other <= ALIKE * one


def _wide(points: list[tuple[float, float]], end: int, step: int) -> int:
    """From an end of the line the first point of half or twice as many rows, else the other end."""
    for i in range(end + step, len(points) if step > 0 else -1, step):
        ratio = points[i][0] / points[end][0]
        if max(ratio, 1.0 / ratio) >= 2.0:
            return i
    return len(points) - 1 if step > 0 else 0


def _rising(buckets: list[Bucket]) -> Iterator[tuple[float, float]]:
    """(rows, seconds) of the closest never falling line: neighbours that fall are merged.

    The pool-adjacent-violators algorithm (Ayer et al. 1955). Noise must not make rows look free.
    """
    merged: list[tuple[float, float, list[float]]] = []  # weight, mean seconds, rows
    for bucket in buckets:
        weight, seconds, rows = bucket.count, bucket.seconds, [bucket.rows]
        while merged and merged[-1][1] > seconds:
            other, more, before = merged.pop()
            seconds = (other * more + weight * seconds) / (other + weight)
            weight, rows = other + weight, before + rows
        merged.append((weight, seconds, rows))
    for _, seconds, rows in merged:
        for row in rows:
            yield row, seconds


@dataclass
class Meter:
    """A peer's passes, and how many of its sessions share one.

    Sessions that draft fall out of step with each other, so a pass serves a part of them only;
    how large a part is measured, for passes with guesses and without.
    """

    curve: Curve = field(default_factory=Curve)
    lessons: int = 8  # rounds in which a lone session may still guess only to learn what passes cost
    _plain: float = 0.0  # seconds of a plain round without it, as it was last told
    _then: float = 0.0  # the same when it made its last pass
    _rounds: int = 0  # since then
    _part: dict[bool, float] = field(default_factory=lambda: {True: 1.0, False: 1.0})

    def observe(self, took: Pass, sessions: int | None, guessing: bool) -> None:
        """Takes in a pass that served `took.sessions` of the `sessions` there are (None: not to be told)."""
        self.curve.observe(took)
        self._then, self._rounds = self._plain, 0
        if sessions is None:
            return
        newest = NEWEST / max(1, sessions)  # as many report in a round
        part = min(1.0, took.sessions / max(1, sessions))
        self._part[guessing] += newest * (part - self._part[guessing])
        if not guessing:  # what was seen of the other is forgotten, so that it can be seen anew
            self._part[True] += FORGOTTEN * newest * (1.0 - self._part[True])

    def doubt(self, plain: float, now: bool) -> bool:
        """A lone session begins a round, which without this peer would take `plain` seconds.

        Who is not asked is not measured either, and what once was slow would stay so for ever. So it is
        looked at again when the machine seems to have changed, and after very long anyway, unless it would
        have to read too much `now`. Returns whether it is.
        """
        self._plain = plain
        self._rounds += 1
        changed = self._then > 0.0 and not _alike(plain, self._then)
        if not now or not (changed or self._rounds > PATIENCE):
            return False
        self._then, self._rounds = plain, 0
        self.lessons = max(self.lessons, LOOKS)
        self.curve.age()
        return True

    def share(self, rows: float, sessions: int, guessing: bool) -> float:
        """Seconds a session pays for its part in a pass, were each of `sessions` to bring `rows`."""
        served = self.served(sessions, guessing)
        return self.curve.at(served * rows) / served

    def served(self, sessions: int, guessing: bool) -> float:
        """How many of so many sessions a pass serves."""
        return max(1.0, self._part[guessing] * sessions)

    def added(self, others: float, rows: float) -> float:
        """Seconds that `rows` more add to a pass of `others`; all of them where there is no other."""
        if others < 1.0:
            return self.curve.at(rows)
        return self.curve.slope(others + rows) * rows
