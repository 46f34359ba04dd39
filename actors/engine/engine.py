"""The model room that drafter and verifier rent: tokens in, coupled tokens out.

Logits never leave it, and distributions go no further than the same process. A step computes new
tokens of many sessions in one forward pass, and gives each the same bits whatever else is in the
pass (docs/decisions/0001).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from ringroad.actors.engine.cache import Cache, Kept, Span
from ringroad.actors.engine.focus import Focus
from ringroad.actors.engine.logprobs import logprobs
from ringroad.actors.engine.model import Decoder, Model
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.prefix import Prefix
from ringroad.actors.engine.reading import Rows, read_shaped
from ringroad.actors.engine.shaping import shapes
from ringroad.actors.engine.siblings import Asked
from ringroad.actors.engine.views import View
from ringroad.actors.engine.work import Outcome as Outcome
from ringroad.actors.engine.work import Work as Work
from ringroad.actors.engine.work import distributions, outcome, vocabulary
from ringroad.actors.errors import CacheFull
from ringroad.actors.grammars import Form, Grammars
from ringroad.actors.messages import Sampling
from ringroad.kernels.head import TOPS, Head
from ringroad.kernels.sampling import survey


@dataclass
class Session:
    """What the engine holds for one text."""

    sampling: Sampling
    cache: Kept
    prefix: Prefix
    focus: Focus
    written: int = field(default=0)  # tokens of the last step, kept or not
    form: Form | None = None  # that its answer keeps to, from the first answer on


class Passed(NamedTuple):
    """A forward pass, of which nothing is kept yet."""

    places: list[Sequence[int]]  # of each work
    positions: Tensor
    spans: list[Span[Kept]]
    hidden: Tensor


class Engine:
    """Sessions on one model."""

    def __init__(
        self, model: Decoder, cache_bytes: int = 10**9, head: Head | None = None, view: View | None = None
    ) -> None:
        """Keys and values of all sessions take at most `cache_bytes`, those kept for later included.
        `head`: the learned router of this model and a larger one. `view`: what partial works see."""
        self.model = model
        self.view = view  # of sessions opened from now on
        self.grammars: Grammars | None = None  # of this model's vocabulary, for sessions that ask for one
        self._head = head
        self._pool = model.pool(cache_bytes)
        self._sessions: dict[str, Session] = {}

    def __contains__(self, session: str) -> bool:
        return session in self._sessions

    @property
    def cached_tokens(self) -> int:
        """Tokens whose keys and values sessions keep, before any sharing."""
        return sum(s.cache.length for s in list(self._sessions.values()))  # read from another thread

    @property
    def longest(self) -> int:
        """Tokens of the longest text there is room for, one block left for guesses behind it."""
        return max(1, (int(self._pool.capacity) - 1) * BLOCK)

    @property
    def idle_tokens(self) -> int:
        """Tokens whose keys and values no session holds any more, kept for a text with the same beginning."""
        return int(self._pool.idle) * BLOCK

    @property
    def held_tokens(self) -> int:
        """Tokens of room that sessions hold, where they share it once."""
        return int(self._pool.held) * BLOCK

    def open(self, session: str, sampling: Sampling, expected: int = 0, salt: bytes = b"") -> None:
        """Begins a session with an empty text, which may come to `expected` tokens; one of that name begins
        again. Only sessions of the same salt share keys and values."""
        self.close(session)
        cache = self.model.cache(self._pool, expected)
        self._sessions[session] = Session(sampling, cache, Prefix(cache, salt), Focus(self.view))

    def adopt(self, session: str, text: Sequence[int]) -> int:
        """Takes over what sessions of its salt have computed of a text that begins with what this one keeps.

        All but the last token at most, since that is computed for its outcome. Returns how many
        tokens are kept now; the same as before where nothing more is known.
        """
        held = self._sessions[session]
        held.prefix.adopt(text)
        return held.cache.length

    def awaited(self, session: str, text: Sequence[int]) -> bytes | None:
        """As Prefix has it."""
        return self._sessions[session].prefix.awaited(text)

    def reserve(self, work: Work, givers: Iterable[str] = ()) -> None:
        """Makes room for a step's new tokens. Where there is none, `givers` lose all that they keep,
        one after another, until there is. Raises CacheFull."""
        cache, others = self._sessions[work.session].cache, iter(givers)
        places = self._positions(work)
        while True:
            try:
                return cache.make_room(places)
            except CacheFull:
                giver = next((each for each in others if cache.beside(self._sessions[each].cache)), None)
                if giver is None:
                    raise
                self.truncate(giver, 0)

    def length(self, session: str) -> int:
        """How many tokens of the session are kept."""
        return self._sessions[session].cache.length

    def whole(self, session: str) -> int:
        """How many of the tokens kept were computed from all that stands before them."""
        held = self._sessions[session]
        return int(min(held.cache.length, held.prefix.whole))

    def settle(self, session: str, length: int) -> None:
        """Only the first `length` tokens will surely stay; what is kept behind them, others never get."""
        self._sessions[session].prefix.settled = length

    def truncate(self, session: str, length: int) -> None:
        """Rolls a session back to its first `length` tokens."""
        held = self._sessions[session]
        if not 0 <= length <= held.cache.length:
            raise ValueError(f"{session}: cannot truncate {held.cache.length} tokens to {length}")
        held.cache.truncate(length)
        held.prefix.truncate(length)

    @torch.inference_mode()
    def keep(self, session: str, path: Sequence[int]) -> None:
        """Of the last step's tokens keeps only `path`: a chain of indices into its Work."""
        held = self._sessions[session]
        start = held.cache.length - held.written
        held.cache.keep(start, path)
        held.prefix.keep(start, path)
        held.prefix.publish(held.cache.length)
        held.written = len(path)

    def close(self, session: str) -> None:
        """Frees a session; one that is not there is free already."""
        held = self._sessions.pop(session, None)
        if held is not None:
            held.prefix.publish(held.cache.length)
            held.cache.truncate(0)

    @torch.inference_mode()
    def step(self, batch: Sequence[Work]) -> list[Outcome]:
        """Computes all new tokens in one forward pass, keeps them, and draws what follows.

        The position of a token in the noise is its index in the session's text, so the outcome of
        token i of a chain is a pure function of the text up to it, of sampling and of seed.
        """
        passed = self._pass(batch)
        outcomes = self._answer(batch, passed)
        self._stay(batch, passed)  # only now: a step that raised has kept nothing
        return outcomes

    def _pass(self, batch: Sequence[Work]) -> Passed:
        places = [self._positions(work) for work in batch]
        for work, place in zip(batch, places, strict=True):
            self._sessions[work.session].cache.make_room(place)
        positions = torch.tensor([position for each in places for position in each])
        tokens = torch.tensor([token for work in batch for token in work.tokens])
        starts = accumulate((len(work.tokens) for work in batch), initial=0)
        spans = [self._seen(*each, tokens, positions) for each in zip(batch, starts, strict=False)]
        return Passed(places, positions, spans, self._forward(tokens, positions, spans))

    def _forward(self, tokens: Tensor, positions: Tensor, spans: Sequence[Span[Kept]]) -> Tensor:
        return self.model.forward(tokens, positions, spans)

    def _stay(self, batch: Sequence[Work], passed: Passed) -> None:
        for work, place, span in zip(batch, passed.places, passed.spans, strict=True):
            self._kept(work, place, span.cache)

    def _seen(self, work: Work, start: int, tokens: Tensor, positions: Tensor) -> Span[Kept]:
        """A Work's rows, from `start` on, and what they look at. Raises ValueError where an answer would not
        be that of the whole text."""
        held = self._sessions[work.session]
        stop = start + len(work.tokens)
        # On a ring everything is seen.
        if work.partial and isinstance(held.cache, Cache) and isinstance(self.model, Model):
            return held.focus.part(self.model, Span(held.cache, start, stop, work.parents), tokens, positions)
        if work.answers and not work.partial and self.whole(work.session) < held.cache.length:
            raise ValueError(f"{work.session}: an answer behind tokens that saw a part of the text")
        return Span(held.cache, start, stop, work.parents)

    def _kept(self, work: Work, positions: Sequence[int], seen: Kept) -> None:
        held = self._sessions[work.session]
        if seen is not held.cache:
            held.prefix.whole = min(held.prefix.whole, held.cache.length)
        held.cache.advance(positions)
        held.prefix.append(work.tokens, work.parents)
        held.written = len(work.tokens)
        # What more than one outcome is asked of may be guesses: known to others once it has stayed.
        guesses = held.written if work.parents else max(0, work.answers - 1)
        held.prefix.publish(held.cache.length - guesses)

    def _positions(self, work: Work) -> Sequence[int]:
        """Of a Work's tokens, in the text that each is the end of."""
        length = self.length(work.session)
        if work.parents is None:
            return range(length, length + len(work.tokens))
        found: list[int] = []
        for parent in work.parents:
            found.append(length if parent < 0 else found[parent] + 1)
        return found

    def _answer(self, batch: Sequence[Work], passed: Passed) -> list[Outcome]:
        _, positions, spans, hidden = passed
        wanted = [
            row
            for work, span in zip(batch, spans, strict=True)
            for row in range(span.stop - work.answers, span.stop)
        ]
        if not wanted:
            return [Outcome([]) for _ in batch]
        logits = self.model.logits(hidden[wanted], vocabulary(batch))
        places = iter((positions[wanted] + 1).tolist())
        asked = [
            Asked(self._sessions[work.session].sampling, next(places), work.siblings)
            for work in batch
            for _ in range(work.answers)
        ]
        changed = self._shapes(batch, logits)
        rows = self._read(batch, logits, changed, asked, hidden[wanted])
        outcomes: list[Outcome] = []
        at = 0
        for work in batch:
            mine = slice(at, at + work.answers)
            at += work.answers
            if work.distributions:
                sampling = self._sessions[work.session].sampling
                drawn_from = [changed.get(row, logits[row]) for row in range(mine.start, mine.stop)]
                outcomes.append(Outcome([], distributions=distributions(drawn_from, sampling)))
            else:
                top, found = self._sessions[work.session].sampling.logprobs, rows.of(mine)
                told = work.logprobs and work.answers > 0 and top is not None
                said = logprobs(logits[mine], found.tokens, top or 0) if told else ()
                outcomes.append(outcome(work, found, said))
        return outcomes

    def _shapes(self, batch: Sequence[Work], logits: Tensor) -> dict[int, Tensor]:
        """Of logits [rows, vocabulary] those that requests change, by row."""
        found: dict[int, Tensor] = {}
        at = 0
        for work in batch:
            held, rows = self._sessions[work.session], range(at, at + work.answers)
            at += work.answers
            shaping = held.sampling.shaping
            if shaping is not None and rows:
                if shaping.grammar and held.form is None:
                    held.form = self._form(shaping.grammar)
                mine, text = [logits[row] for row in rows], held.prefix.tokens
                found |= zip(rows, shapes(work, text, shaping, mine, held.form), strict=True)
        return found

    def _form(self, grammar: str) -> Form:
        if self.grammars is None:
            raise ValueError("no grammars are known here")
        return self.grammars.form(grammar)

    def _read(
        self,
        batch: Sequence[Work],
        logits: Tensor,
        changed: dict[int, Tensor],
        asked: Sequence[Asked],
        hidden: Tensor,
    ) -> Rows:
        """What answered rows say, as far as anybody asks."""
        likeliest = max(max(work.siblings, work.successors, 2 * work.features) for work in batch)
        doubted = [work.doubts for work in batch for _ in range(work.answers)]
        looked_at = any(work.sights for work in batch) or (self._head is not None and any(doubted))
        likeliest = max(likeliest, TOPS) if looked_at else likeliest
        rows = read_shaped(logits, changed, asked, likeliest, self.model.kernels)
        if looked_at:
            rows = rows.looked_at(hidden, survey(logits, TOPS) if changed else rows.seen)
        return rows if self._head is None else rows.judged(self._head, doubted)
