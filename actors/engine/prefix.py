"""What a session's cache holds in tokens, and which of its blocks are shared with texts that begin alike.

Keys and values depend on tokens alone, not on sampling or seed, and have the same bits however they
were computed (docs/decisions/0001): a block taken over is the block that would have been computed.
"""

import math
from array import array
from collections.abc import Sequence
from hashlib import blake2b

from ringroad.actors.engine.cache import Kept
from ringroad.actors.engine.pool import BLOCK


def key(before: bytes, tokens: Sequence[int]) -> bytes:
    """Names the block of these tokens behind the block named `before`; two texts never share a name."""
    return blake2b(before + array("q", tokens).tobytes(), digest_size=16).digest()


class Prefix:
    """The tokens in a cache. Every change of the cache is told here, too."""

    def __init__(self, cache: Kept, salt: bytes = b"") -> None:
        """salt: texts of another one share nothing with this; of one length, or empty."""
        self.tokens: list[int] = []
        self._cache = cache
        self._root = cache.root + salt
        self._keys: list[bytes] = []  # of the first blocks, as far as they are known
        # From this place on keys and values were computed beside another branch of a tree: in fp32
        # their last bits may be their own (docs/decisions/0001), so nobody else gets them.
        self._stray: float = math.inf
        # From this place on they were computed from a part of the text: nobody else gets these, either.
        self.whole: float = math.inf
        self.settled: float = math.inf  # from this place on tokens are guesses: nobody else gets them, either

    def append(self, tokens: Sequence[int], parents: Sequence[int] | None) -> None:
        """The cache has kept these, too."""
        if parents is not None:
            self._branched(len(self.tokens), [parent + 1 for parent in parents])
        self.tokens += tokens

    def keep(self, start: int, path: Sequence[int]) -> None:
        """Of the tokens from `start` on, the cache has kept only `path`."""
        self._branched(start, path)
        self.tokens[start:] = [self.tokens[start + node] for node in path]
        self.truncate(len(self.tokens))

    def truncate(self, length: int) -> None:
        """The cache has kept only the first `length`."""
        del self.tokens[length:]
        if length <= self._stray:
            self._stray = math.inf
        if length <= self.whole:
            self.whole = math.inf
        del self._keys[length // BLOCK :]

    def publish(self, length: int) -> None:
        """Makes the blocks of the first `length` tokens known, the last as far as it is filled: where a
        router is lost, its sessions go on under other names, maybe before they end here."""
        reach = int(min(length, self._stray, self.whole, self.settled))
        while (len(self._keys) + 1) * BLOCK <= reach:
            index = len(self._keys)
            name = self._next_key(self.tokens)
            self._cache.publish(index, name, BLOCK)
            self._keys.append(name)
        begun = len(self._keys) * BLOCK
        if begun < reach:
            self._cache.publish(len(self._keys), self._key(self.tokens[begun:reach]), reach - begun)

    def adopt(self, text: Sequence[int]) -> None:
        """Takes over what is known of a text that begins with these tokens, all but its last at most."""
        self.publish(len(self.tokens))
        index = len(self._keys)
        blocks: list[int] = []
        while (len(self._keys) + 1) * BLOCK <= len(text):
            name = self._next_key(text)
            block = self._cache.find(len(self._keys), name)
            if block is None:
                break
            blocks.append(block)
            self._keys.append(name)
        reach = len(self._keys) * BLOCK
        rest = text[reach : reach + BLOCK - 1]
        for count in range(len(rest), 0, -1):  # as far as the others have come
            block = self._cache.find(len(self._keys), self._key(rest[:count]))
            if block is not None:
                blocks.append(block)
                reach += count
                break
        length = min(reach, len(text) - 1)
        if length > len(self.tokens):
            self._cache.take_over(index, blocks, length)
            self.tokens[:] = text[:length]
            self._stray = self.whole = math.inf
            index = length // BLOCK  # the last of them is to be written, where it holds the text's last token
        del self._keys[index:]

    def awaited(self, text: Sequence[int]) -> bytes | None:
        """What the next full block of a text will be known by once it is read here; None where there is no
        such block, and where nobody else would get it."""
        shared = min(self._stray, self.whole, self.settled) >= len(self.tokens)
        return self._next_key(text) if shared and (len(self._keys) + 1) * BLOCK <= len(text) else None

    def _next_key(self, text: Sequence[int]) -> bytes:
        at = len(self._keys) * BLOCK
        return self._key(text[at : at + BLOCK])

    def _key(self, tokens: Sequence[int]) -> bytes:
        """Of a block of these behind those that are known."""
        return key(self._keys[-1] if self._keys else self._root, tokens)

    def _branched(self, start: int, order: Sequence[int]) -> None:
        first = next((i for i, node in enumerate(order) if node != i), None)
        if first is not None:
            self._stray = min(self._stray, start + first)
            del self._keys[(start + first) // BLOCK :]
