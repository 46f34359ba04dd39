"""Recent texts, and where short grams stand in them: bounded, and never searched from end to end.

A gram is known by the salt of its text, too: what one asked never shows in the guesses for another.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

ORDERS = (3, 1)  # sizes of the grams that are indexed, the longer tried first
PLACES = 6  # latest places kept of a gram
CAPACITY = 1 << 16  # tokens of a generation

Text = list[int]
Place = tuple[Text, int]  # a text, and where in it a token follows the gram
Gram = tuple[bytes | int, ...]  # a salt, then tokens
Index = dict[Gram, list[Place]]


class Corpus:
    """Two generations of places: when the younger is full, the elder goes, with the texts only it knew."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._young: Index = {}
        self._elder: Index = {}
        self._count = 0  # tokens indexed in the younger

    def begin(self) -> Text:
        """A new text; only `extend` may change it."""
        return []

    def extend(self, text: Text, news: Iterable[int], salt: bytes = b"") -> None:
        """More tokens of a text, whose salt is always the same."""
        for token in news:
            at = len(text)
            text.append(token)
            for order in ORDERS:
                if at >= order:
                    self._index((salt, *text[at - order : at]), (text, at))
            self._count += 1
            if self._count >= self._capacity:
                self._elder, self._young, self._count = self._young, {}, 0

    def places(self, text: Sequence[int], salt: bytes = b"") -> list[Place]:
        """Where the longest indexed gram that ends the text stood in texts of its salt, latest first."""
        for order in ORDERS:
            if len(text) >= order:
                gram: Gram = (salt, *text[-order:])
                both = chain(reversed(self._young.get(gram, ())), reversed(self._elder.get(gram, ())))
                if found := list(both):
                    return found
        return []

    def _index(self, gram: Gram, place: Place) -> None:
        places = self._young.setdefault(gram, [])
        if len(places) >= PLACES:
            del places[0]
        places.append(place)
