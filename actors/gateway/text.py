"""Text that goes to a client: cut before a stop string, which may come in pieces."""

from collections.abc import Sequence
from typing import NamedTuple

from ringroad.actors.ledger.ledger import Record
from ringroad.actors.tokenizer import TextStream, Tokenizer


class Piece(NamedTuple):
    """Text that can be sent, how many of the tokens belong to it, and whether a stop string ended it."""

    text: str
    tokens: int
    stopped: bool


def text_of(record: Record, tokenizer: Tokenizer) -> "StoppingText":
    """The text of a request's answer."""
    shaping = record.submit.sampling.shaping
    return StoppingText(tokenizer, record.stops, record.submit.ends, shaping.least if shaping else 0)


class StoppingText:
    """A text stream that ends just before the first of some strings.

    Where two strings show up with the same token, the one that begins first counts. Text that may
    still become a stop string is held back.
    """

    def __init__(
        self, tokenizer: Tokenizer, stops: Sequence[str], ends: Sequence[int] = (), least: int = 0
    ) -> None:
        """ends: tokens that end a text, no part of it. least: tokens at first in which no stop counts."""
        self._stream = TextStream(tokenizer)
        self._ends = frozenset(token for token in ends if tokenizer.bytes_of(token))
        self._free = least  # tokens that are yet to pass
        self._stops = stops
        self._reach = max(map(len, stops), default=1) - 1  # a stop string's beginning is at most this long
        self._held = ""
        self._stopped = False

    @property
    def pending(self) -> bool:
        """Whether a part of the tokens' text waits for the next token, or for the end."""
        return not self._stopped and (bool(self._held) or self._stream.pending)

    def push(self, tokens: Sequence[int]) -> Piece:
        """What these tokens add."""
        if not self._stops:
            return Piece(self._spoken(tokens), len(tokens), False)
        text = ""
        for n, token in enumerate(tokens, start=1):  # one by one: the token that completes a stop is the last
            added = self._spoken((token,))
            self._free -= 1
            added, stopped = (added, False) if self._free >= 0 else self._scan(added)
            text += added
            if stopped:
                return Piece(text, n, True)
        return Piece(text, len(tokens), False)

    def finish(self) -> Piece:
        """What was held back, at the end of the text."""
        if self._stopped:
            return Piece("", 0, True)
        added, stopped = self._scan(self._stream.finish())
        return Piece(added if stopped else added + self._held, 0, stopped)

    def _spoken(self, tokens: Sequence[int]) -> str:
        heard = [token for token in tokens if token not in self._ends] if self._ends else tokens
        return self._stream.push(heard)

    def _scan(self, added: str) -> tuple[str, bool]:
        text = self._held + added
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self._stopped = True
            return text[: min(found)], True
        keep = self._beginning(text)
        self._held = text[keep:]
        return text[:keep], False

    def _beginning(self, text: str) -> int:
        """Where a stop string may have begun; the length of `text` where none has."""
        first = max(0, len(text) - self._reach)
        for at in range(first, len(text)):
            tail = text[at:]
            if any(stop.startswith(tail) for stop in self._stops):
                return at
        return len(text)
