"""Who takes part in a step: all that decode, and prompts as far as its tokens and the cache's room reach."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.errors import CacheFull

FEWEST = 16  # tokens: a session that lacks no more decodes, and the oldest prompt gets as many in every step

Texts = Mapping[str, Sequence[int]]


@dataclass
class Step:
    """A step to be."""

    works: list[Work] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)  # sessions too large for the whole cache, and why


def shares(lacks: Sequence[int], left: int, chunk: int) -> list[int]:
    """How many tokens of its text each prompt reads in a step; 0 means that it waits for the next.

    lacks: tokens that each still has to read, oldest prompt first. left: what those who decode leave of
    the step's tokens. The oldest come first with up to `chunk` tokens each (chunked prefill behind
    decoding: Sarathi-Serve, Agrawal et al. 2024, section 4).
    """
    given: list[int] = []
    for lack in lacks:
        most = left if given else max(left, FEWEST)
        share = min(lack, chunk, most) if most >= FEWEST else 0
        given.append(share)
        left -= share
    return given


class Schedule:
    """Plans the steps of one engine, and counts what its prompts found in the cache."""

    def __init__(self, engine: Engine, prefill_chunk: int, step_tokens: int) -> None:
        """A step reads at most `prefill_chunk` tokens of a text, and of all texts what those who decode
        leave of `step_tokens`."""
        self._engine = engine
        self._chunk = prefill_chunk
        self._tokens = step_tokens
        self.found = 0  # tokens of prompts that were in the cache already
        self.read = 0  # and that were not

    @property
    def found_share(self) -> float:
        """Of all tokens of prompts, the share that was in the cache already."""
        return self.found / max(1, self.found + self.read)

    def plan(self, texts: Texts, silent: Sequence[str], question: Callable[[str], Work]) -> Step:
        """The next step for those who are asked something; there is room for all its works.

        texts: of those asked, the oldest question first. silent: sessions that nobody asks about, the
        first to give way first. question: the work that ends a session's reading.
        """
        for session, text in texts.items():
            self._look_up(session, text)
        lacks = {session: self._lack(session, text) for session, text in texts.items()}
        decoding = [session for session, lack in lacks.items() if lack <= FEWEST]
        reading = [session for session, lack in lacks.items() if lack > FEWEST]
        line = [*decoding, *reading]
        step = Step()
        for session in decoding:
            if self._lack(session, texts[session]) == lacks[session]:  # else it has just given way
                self._place(question(session), step, _givers(session, silent, line))
        left = self._tokens - sum(len(work.tokens) for work in step.works)
        first = self._first(reading, texts)
        given = shares([self._lack(session, texts[session]) for session in first], left, self._chunk)
        for session, share in zip(first, given, strict=True):
            if not share:
                break
            work = self._piece(session, texts[session], share) or question(session)
            if not self._place(work, step, _givers(session, silent, line)):
                break  # nobody overtakes: small prompts could keep a large one waiting for ever
            self.read += share
        return step

    def _first(self, reading: Sequence[str], texts: Texts) -> list[str]:
        """All but those whose next block somebody before them reads: they take it over once it is read."""
        readers: dict[bytes | str, str] = {}
        for session in reading:
            readers.setdefault(self._engine.awaited(session, texts[session]) or session, session)
        return list(readers.values())

    def _lack(self, session: str, text: Sequence[int]) -> int:
        return len(text) - self._engine.length(session)

    def _look_up(self, session: str, text: Sequence[int]) -> None:
        before = self._engine.length(session)
        if len(text) - before > FEWEST:
            self.found += self._engine.adopt(session, text) - before

    def _piece(self, session: str, text: Sequence[int], count: int) -> Work | None:
        """The next tokens of a text, unless they are its last."""
        at = self._engine.length(session)
        return Work(session, text[at : at + count], answers=0) if at + count < len(text) else None

    def _place(self, work: Work, step: Step, givers: Iterator[str]) -> bool:
        """Plans a work if there is room for it."""
        try:
            self._engine.reserve(work, givers)
        except CacheFull as full:
            if not step.works:  # and so nobody else keeps anything
                step.refused[work.session] = str(full)
            return False
        step.works.append(work)
        return True


def _givers(session: str, silent: Sequence[str], line: Sequence[str]) -> Iterator[str]:
    """Whose keys and values go, to be computed again when there is room for them."""
    yield from silent
    yield from takewhile(lambda name: name != session, reversed(line))
