"""Draft-ahead: what the small model would say after likely verdicts, read while the large one judges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ringroad.actors.drafter.passes import behind_text, picked
from ringroad.actors.drafter.tree import Tree
from ringroad.actors.engine.engine import Outcome, Work
from ringroad.actors.messages import Draft
from ringroad.actors.router.policies import Decision, decide, wants_head

Path = tuple[int, ...]  # tokens behind a committed text
LAG = 64  # tokens: a cache that lacks more of the text has given way to others


@dataclass
class Line:
    """An outcome of a verdict, and what would be proposed after it."""

    path: list[int]
    guesses: int  # behind the outcome; -1: its last token is still to be said
    open: bool = True


def likely(
    tree: Tree, read: Mapping[Path, tuple[int, int]], own: float, second: float, count: int
) -> list[Line]:
    """The `count` likeliest verdicts on a proposal, the likeliest first.

    A verdict ends at a node none of whose children stays. Where the small model has `read` up to there, its
    first and second choice are known: the first is the likeliest word of the large model's, unless it is
    one of those children, and then the second is (of equal noise: the runner-up of log q + g). Elsewhere
    its own word is, still to be said. `own` and `second` are how often these are right. The outcomes of SSD
    (Saguaro), ranked by chance in place of a fixed fan-out;
    of a chain that surely stays, the one of PEARL.
    """
    reach: dict[Path, float] = {(): 1.0}
    paths: list[Path] = []
    for token, parent, score in zip(tree.tokens, tree.parents, tree.scores, strict=True):
        paths.append((*(paths[parent] if parent >= 0 else ()), token))
        reach[paths[-1]] = score
    ends = dict(reach)
    for path in paths:
        ends[path[:-1]] -= reach[path]
    found: list[tuple[float, Line]] = []
    for path, chance in ends.items():
        if path not in read:
            found.append((chance * own, Line(list(path), -1)))
            continue
        first, runner_up = read[path]
        if (*path, first) not in reach:
            found.append((chance * own, Line([*path, first], 0)))
        elif (*path, runner_up) not in reach:
            found.append((chance * second, Line([*path, runner_up], 0)))
    return [line for _, line in sorted(found, key=lambda each: -each[0])[:count]]


class Ahead:
    """What the small model says behind a proposal, line by line, a token of every open line a pass."""

    def __init__(
        self, draft: Draft, start: int, lines: Sequence[Line], room: int, vocabulary: int | None = None
    ) -> None:
        """`start`: tokens of the text that was drafted for; behind them there is room for `room` more.
        `vocabulary`: ids that are looked at, as `Work` has it."""
        self._draft = draft
        self._start = start
        self._lines = lines
        self._room = room
        self._vocabulary = vocabulary
        self._known: dict[Path, Outcome] = {}  # what follows each path that was read
        self._kept: Path | None = None  # what the cache keeps behind the start; None: as the drafter left it
        self._cached = -1  # tokens that it keeps in all, then
        self._asked: list[Path] = []  # by the last work
        self._stem: Path = ()  # what is to be kept of it
        for line in lines:
            self._advance(line)

    @property
    def busy(self) -> bool:
        """Whether there is more to read."""
        return any(line.open for line in self._lines)

    def plan(self, text: Sequence[int], cached: int) -> tuple[int, Work] | None:
        """How many of the `cached` tokens to keep, and what to read behind them; the cache must keep
        what `read` says. None: it keeps something else now, so there is nothing to go on from.

        Lines that differ are branches, read anew in each pass, as only one of them can stay in a cache.
        """
        if self._kept is None:
            self._kept, self._cached = tuple(text[self._start : cached]), cached
        if cached != self._cached or self._start - cached > LAG:
            return None
        paths = list(dict.fromkeys(tuple(line.path) for line in self._lines if line.open))
        self._stem = paths[0][: _alike(paths)]
        same = min(_alike([self._kept, self._stem]), min(map(len, paths)) - 1)
        lack = text[min(cached, self._start) : self._start]
        nodes = list(
            dict.fromkeys(
                [*(path[:end] for path in paths for end in range(same + 1, len(path))), *paths],
            )
        )
        place = {path: i for i, path in enumerate(nodes)}
        parents = [place.get(path[:-1], -1) for path in nodes]
        first = min(place[path] for path in paths)
        self._asked = nodes[first:]
        work = Work(
            self._draft.session,
            [*lack, *(path[-1] for path in nodes)],
            None if parents == list(range(-1, len(nodes) - 1)) else behind_text(len(lack), parents),
            answers=len(self._asked),
            features=True,
            doubts=wants_head(self._draft.until),
            siblings=2,
            vocabulary=self._vocabulary,
            partial=True,
        )
        return min(cached, self._start + same), work

    def read(self, outcome: Outcome, keeps: int) -> int:
        """Takes in what came of the last plan, for a cache that kept the first `keeps` tokens before it.
        Returns how many of the work's tokens are to be kept, from the first on."""
        for row, path in enumerate(self._asked):
            self._known[path] = _row(outcome, row)
        for line in self._lines:
            self._advance(line)
        self._kept, self._cached = self._stem, self._start + len(self._stem)
        return self._cached - keeps

    def next(self, text: Sequence[int]) -> Outcome | None:
        """What the small model says after a text that begins as the one drafted for did; None where
        that was not prepared."""
        return self._known.get(tuple(text[self._start :]))

    def agreeing(self, text: Sequence[int], agreed: int) -> int:
        """How many cached tokens begin a text, of whose tokens `agreed` are those the drafter held."""
        if self._kept is None or agreed < self._start:
            return agreed
        return self._start + _alike([self._kept, text[self._start :]])

    def _advance(self, line: Line) -> None:
        """Goes on as far as is known."""
        while line.open:
            line.open = line.guesses < self._draft.budget and len(line.path) <= self._room
            row = self._known.get(tuple(line.path))
            if row is None or not line.open:
                return
            line.path.append(row.tokens[0])
            line.guesses += 1
            line.open = line.guesses < 1 or not self._doubted(row)

    def _doubted(self, row: Outcome) -> bool:
        until, seen = self._draft.until, row.features
        return until is not None and seen is not None and decide(until, seen, 0) is Decision.CONSULT


def _row(outcome: Outcome, row: int) -> Outcome:
    seen = outcome.features
    features = None if seen is None else picked(seen, [row])
    return Outcome([outcome.tokens[row]], features, [outcome.siblings[row]])


def _alike(paths: Sequence[Sequence[int]]) -> int:
    """How many tokens all of them begin with."""
    columns = enumerate(zip(*paths, strict=False))
    return next((i for i, column in columns if len(set(column)) > 1), min(map(len, paths)))
