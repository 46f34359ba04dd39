"""What a gateway has told the ledger and the ledger has not confirmed."""

import logging
from array import array
from collections.abc import Sequence

from ringroad.actors.ledger import keys, pieces
from ringroad.actors.ledger.ledger import Ending, Record
from ringroad.actors.messages import Speaker

log = logging.getLogger(__name__)

_MOST_TOKENS = 4096  # in one piece


class Text:
    """A running request's text, all of it: a ledger that lost its memory is given it once more.

    5 bytes a token.
    """

    def __init__(self, record: Record) -> None:
        self.keys = keys.of_request(record.submit.session)
        self._record = record
        self._tokens = array("I")
        self._speakers = bytearray()
        self._ending: Ending | None = None
        self._wanted = True  # the record
        self._written = 0  # tokens that the ledger has
        self._dropped = False
        self.settled = False  # the ledger has all that it is to have

    @property
    def running(self) -> bool:
        """Whether more may come."""
        return self._ending is None and not self._dropped

    @property
    def dirty(self) -> bool:
        """Whether the ledger lacks any of it."""
        behind = self._wanted or self._written < len(self._tokens) or not self.running
        return behind and not self.settled

    def commit(self, offset: int, tokens: Sequence[int], speakers: Sequence[Speaker]) -> None:
        """What is known already is passed over, and so is what leaves a gap."""
        known = len(self._tokens) - offset
        if self.running and 0 <= known < len(tokens):
            self._tokens.extend(tokens[known:])
            self._speakers += pieces.codes(speakers[known:])

    def end(self, ending: Ending) -> None:
        """The first ending counts."""
        if self.running:
            self._ending = ending

    def drop(self) -> None:
        """Somebody else may have it once the ledger has what is here."""
        if self.running:
            self._dropped = True

    def arguments(self) -> list[bytes | int]:
        """What `scripts.WRITE` takes next, from ARGV[3] on: the record, a piece, the ending."""
        first = min(self._written, len(self._tokens))
        stop = min(first + _MOST_TOKENS, len(self._tokens))
        last = stop == len(self._tokens)
        return [
            pieces.encode(self._record) if self._wanted else b"",
            first,
            stop,
            pieces.piece(first, self._tokens[first:stop], bytes(self._speakers[first:stop])),
            pieces.encode(self._ending) if self._ending and last else b"",
            b"1" if self._dropped and last else b"",
        ]

    def answered(self, asked: Sequence[bytes | int], known: int, word: bytes) -> None:
        """What the ledger said of these arguments."""
        self._written = known
        self._wanted = word == b"wanted"
        closing = word == b"written" and bool(asked[4] or asked[5]) and int(asked[1]) <= known
        self.settled = closing or word in (b"over", b"other")


class Backlog:
    """All texts that run here, and those that have ended and are not written yet: at most `most` of these."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._texts: dict[str, Text] = {}
        self.given_up = 0  # requests that ended and were never written

    def begin(self, record: Record) -> None:
        """Texts of one name follow each other."""
        self._texts[record.submit.session] = Text(record)

    def commit(
        self, request_id: str, offset: int, tokens: Sequence[int], speakers: Sequence[Speaker]
    ) -> None:
        """Of a request that nobody began here it is passed over."""
        if text := self._texts.get(request_id):
            text.commit(offset, tokens, speakers)

    def end(self, request_id: str, ending: Ending) -> None:
        """It is kept until it is written."""
        if text := self._texts.get(request_id):
            text.end(ending)
            self._bound()

    def drop(self, request_id: str) -> None:
        """Likewise."""
        if text := self._texts.get(request_id):
            text.drop()
            self._bound()

    def dirty(self) -> list[Text]:
        """Texts that the ledger lacks something of, the oldest first."""
        return [text for text in self._texts.values() if text.dirty]

    def forget_settled(self) -> None:
        """Frees the texts that the ledger has all of."""
        self._texts = {name: text for name, text in self._texts.items() if not text.settled}

    def __len__(self) -> int:
        return len(self._texts)

    def _bound(self) -> None:
        over = [name for name, text in self._texts.items() if not text.running]
        for name in over[: max(0, len(over) - self._most)]:
            if not self.given_up:
                log.warning(
                    "more than %d ended requests wait for the ledger: the oldest are given up", self._most
                )
            del self._texts[name]
            self.given_up += 1
