"""Blocks against plain lists: whatever sessions share, copy, roll back and lose, each reads its own text."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ringroad.actors.engine.cache import Cache
from ringroad.actors.engine.pool import BLOCK, Pool
from ringroad.actors.engine.prefix import Prefix
from ringroad.actors.errors import CacheFull
from tests import reference
from tests.engine.tiny import SHAPE, bits

SMALL = replace(SHAPE, layers=2, kv_heads=1, head_dim=2)
BLOCK_BYTES = 2 * 2 * 1 * 2 * BLOCK * 4
LAYER = 2_000_000.0  # what sets the second layer's cells apart; halves stay exact in fp32
NAMES = ("a", "b", "c")
names = st.sampled_from(NAMES)
# Long runs of few kinds of token, so that texts begin alike and blocks fill up.
runs = st.tuples(st.integers(1, 2), st.sampled_from([1, 7, BLOCK - 1, BLOCK, 100])).map(
    lambda r: [r[0]] * r[1]
)


def made(blocks: int) -> Pool:
    return Pool(SMALL, torch.float32, torch.device("cpu"), blocks * BLOCK_BYTES)


def imprint(text: list[int]) -> float:
    """What stands for the last token's key: a number of the whole text, exact in fp32."""
    found = 0
    for token in text:
        found = (found * 31 + token + 1) % 1_000_003
    return float(found)


def across(cells: list[float]) -> torch.Tensor:
    """One key a cell, to be written: [rows, kv_heads, head_dim]."""
    return torch.tensor(cells).view(-1, 1, 1).expand(-1, 1, 2)


@dataclass
class Line:
    """A session, and beside it what it should read: its text and the cell of each token."""

    cache: Cache
    prefix: Prefix
    text: list[int] = field(default_factory=list)
    cells: list[float] = field(default_factory=list)

    @property
    def plain(self) -> bool:
        """Whether no cell was computed beside another branch, or behind one that was."""
        return all(cell.is_integer() for cell in self.cells)

    def write(self, cells: list[float]) -> None:
        self.cache.reserve(self.cache.length + len(cells))
        for layer in range(SMALL.layers):
            key = across(cells) + LAYER * layer
            keys, values = self.cache.write(layer, key, -key)
            seen = torch.tensor(self.cells + cells) + LAYER * layer
            assert keys.shape[1] % 512 == 0
            assert torch.equal(keys[0, : len(seen), 0], seen)
            assert torch.equal(-values[0, : len(seen), 1], seen)
            assert not keys[0, len(self.cache._blocks) * BLOCK :].any()


class Blocks(RuleBasedStateMachine):
    """Random lives of three sessions on one pool."""

    blocks = 1000

    @initialize()
    def start(self) -> None:
        self.pool = made(self.blocks)
        self.past: list[list[int]] = [[]]
        self.lines: dict[str, Line] = {}
        for name in NAMES:
            self._open(name)

    def _open(self, name: str) -> None:
        cache = Cache(self.pool)
        self.lines[name] = Line(cache, Prefix(cache))

    def _within_bounds(self, name: str, rows: int, act: Callable[[], None]) -> bool:
        """Acts; it may fail only where there is no room, and then changes nothing."""
        held, length = self.pool.held, self.lines[name].cache.length
        try:
            act()
        except CacheFull:
            assert self.pool.idle == 0
            assert self.pool.capacity - held < rows // BLOCK + 2
            assert (self.lines[name].cache.length, self.pool.held) <= (length, held)
            return False
        return True

    @rule(name=names, new=runs, uncertain=st.integers(0, 3))
    def chain(self, name: str, new: list[int], uncertain: int) -> None:
        line = self.lines[name]
        cells = [imprint(line.text + new[: i + 1]) + (0 if line.plain else 0.5) for i in range(len(new))]
        if not self._within_bounds(name, len(new), lambda: line.write(cells)):
            return
        line.cache.length += len(new)
        line.prefix.append(new, None)
        line.text, line.cells = line.text + new, line.cells + cells
        line.prefix.publish(max(0, len(line.text) - uncertain))

    @rule(name=names, new=st.lists(st.integers(1, 2), min_size=1, max_size=6), data=st.data())
    def tree(self, name: str, new: list[int], data: st.DataObject) -> None:
        """Cells beside another branch are half a number off, as a last bit may be."""
        line, start = self.lines[name], len(self.lines[name].text)
        parents = [data.draw(st.integers(-1, i - 1)) for i in range(len(new))]
        paths = [reference.ancestors(parents, node) for node in range(len(new))]
        kept = data.draw(st.sampled_from([[], *paths]))
        exact = [line.plain and path == list(range(len(path))) for path in paths]
        cells = [
            imprint(line.text + [new[node] for node in path]) + (0 if plain else 0.5)
            for path, plain in zip(paths, exact, strict=True)
        ]
        if not self._within_bounds(name, len(new), lambda: line.write(cells)):
            return
        line.cache.length += len(new)
        line.prefix.append(new, parents)
        line.cache.keep(start, kept)
        line.prefix.keep(start, kept)
        line.text = line.text + [new[node] for node in kept]
        line.cells = line.cells + [cells[node] for node in kept]

    @rule(name=names, back=st.sampled_from([0, 1, 5, BLOCK, 90, 1000]))
    def truncate(self, name: str, back: int) -> None:
        line = self.lines[name]
        self.past.append(list(line.text))
        length = max(0, len(line.text) - back)
        line.cache.truncate(length)
        line.prefix.truncate(length)
        del line.text[length:], line.cells[length:]

    @rule(name=names, more=runs)
    def adopt(self, name: str, more: list[int]) -> None:
        """As its own text goes on."""
        self._adopt(name, self.lines[name].text + more)

    @rule(name=names, more=runs, data=st.data())
    def adopt_from_the_start(self, name: str, more: list[int], data: st.DataObject) -> None:
        """A text that any session has, or had before it was rolled back."""
        texts = [*self.past, *(list(line.text) for line in self.lines.values())]
        self.close(name)
        self._adopt(name, data.draw(st.sampled_from(texts)) + more)

    def _adopt(self, name: str, text: list[int]) -> None:
        line, before = self.lines[name], len(self.lines[name].text)
        line.prefix.adopt(text)
        found = line.cache.length
        assert before <= found <= len(text) - 1 or found == before
        if found > before:
            line.text, line.cells = text[:found], [imprint(text[: i + 1]) for i in range(found)]

    @rule(name=names)
    def close(self, name: str) -> None:
        line = self.lines[name]
        self.past.append(list(line.text))
        line.prefix.publish(line.cache.length)
        line.cache.truncate(0)
        self._open(name)

    @invariant()
    def each_reads_its_own_text(self) -> None:
        for line in getattr(self, "lines", {}).values():
            assert line.prefix.tokens == line.text
            assert line.cache.length == len(line.text)
            if line.text:
                assert bits(line.cache)[:, 0, 0, 0, 0].tolist() == line.cells
                assert bits(line.cache)[:, 1, 1, 0, 1].tolist() == [-LAYER - cell for cell in line.cells]

    @invariant()
    def blocks_are_counted(self) -> None:
        if hasattr(self, "lines"):
            tables = [line.cache._blocks for line in self.lines.values()]
            assert self.pool._holders == {b: sum(b in t for t in tables) for t in tables for b in t}
            assert self.pool.held + self.pool.idle <= self.pool.capacity

    def teardown(self) -> None:
        for line in getattr(self, "lines", {}).values():
            line.cache.truncate(0)
        if hasattr(self, "pool"):
            assert self.pool.held == 0


class FewBlocks(Blocks):
    blocks = 8


bounded = settings(max_examples=60, stateful_step_count=25, deadline=None, phases=[Phase.generate])
TestBlocks = Blocks.TestCase
TestBlocks.settings = bounded
TestFewBlocks = FewBlocks.TestCase
TestFewBlocks.settings = bounded
