"""What kernels and twins are told of a batch. The rows of all sessions stand one after the other.

The integers beside the tensors are upper bounds that the host knows, so that a launch waits for
nothing; a recorded step (`graphs`) fixes them once for all batches that fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

WORD = 64  # bits


class Inputs(NamedTuple):
    """A decoder's step as tensors alone, so that it can be recorded. Sessions and rows may be padding: rows
    that see nothing, write nothing, and whose outcome is of no account."""

    tokens: Tensor  # [rows] int64
    positions: Tensor  # [rows] int64; in their texts
    slots: Tensor  # [rows] int64; where keys and values go: block * places of a block + place; -1: nowhere
    first: Tensor  # as in Step, and so are the others
    cached: Tensor
    table: Tensor
    seen: Tensor

    def step(self, places: int, most_rows: int | None = None) -> "Step":
        """What attention is told, for blocks of so many places; without a bound all rows may be of one
        session."""
        reach = self.table.shape[1] * places
        rows = most_rows or len(self.tokens)
        return Step(self.first, self.cached, self.first.diff(), self.table, self.seen, rows, reach)


@dataclass(frozen=True)
class Turn:
    """Where rows stand: in their texts and in the cache."""

    positions: Tensor  # [rows] int64
    slots: Tensor  # [rows] int64; as in Inputs
    cos: Tensor  # [context, 1, dim] fp32; of `layers.rotary_table`
    sin: Tensor
    eps: float
    norms: tuple[Tensor, Tensor] | None  # [dim] fp32 each, of query and key heads; None: they are not normed


@dataclass(frozen=True)
class Step:
    """New tokens over a paged cache, new keys and values written to it already: their own, or at a rank of a
    ring those that the rank owns, whosever the rows are."""

    first: Tensor  # [sessions + 1] int32; session s has the rows from first[s] up to first[s + 1]
    cached: Tensor  # [sessions] int32; places that all of the session's rows see
    new: Tensor  # [sessions] int32; places behind those, seen by bits
    table: Tensor  # [sessions, blocks] int32; the cache's block that holds the n-th block of places
    seen: Tensor  # [rows, words] int64; bit j % 64 of word j // 64: the row sees its session's new place j
    most_rows: int  # of a session
    most_places: int  # of a session, its new ones included


@dataclass(frozen=True)
class Draws:
    """How the token after each row is drawn: the noise's place, temperature, and what truncation leaves."""

    seeds: Tensor  # [rows] uint64
    streams: Tensor  # [rows] uint64
    positions: Tensor  # [rows] int64; of the token being drawn
    temperatures: Tensor  # [rows] fp32; 0: the likeliest token
    floors: Tensor  # [rows] fp32; the lowest (logit - largest) / temperature that may be drawn; -inf: all


@dataclass(frozen=True)
class Guesses:
    """A proposal for each session, hung under a root: the row of the last committed token."""

    first: Tensor  # [sessions + 1] int32; session s has the rows from first[s] up to first[s + 1]
    tokens: Tensor  # [rows] int32; the guess that stands at a row; of no account at a root
    parents: Tensor  # [rows] int32; an earlier row of the session counted from its root, 0; -1 at the root
    most_rows: int  # of a session, its root included


class Verdicts(NamedTuple):
    """What stays of proposals, and what follows."""

    drawn: Tensor  # [rows] int32; the token after each row
    kept: Tensor  # [sessions] int32; guesses that stay
    paths: Tensor  # [sessions, most_rows - 1] int32; which: guess i stands at row i + 1; -1 behind the last
    tokens: Tensor  # [sessions] int32; what follows them: recovered or bonus


def ancestry(parents: Sequence[int], words: int) -> Tensor:
    """The bits of `Step.seen` for one session: [len(parents), words] int64.

    A new token sees itself and those that `parents[i]`, an earlier new token or -1, leads to. Raises
    ValueError where `words` have too few bits.
    """
    if len(parents) > words * WORD:
        raise ValueError(f"{len(parents)} new tokens do not fit into {words} words of {WORD} bits")
    lines: list[int] = []
    for node, parent in enumerate(parents):
        lines.append(1 << node | (lines[parent] if parent >= 0 else 0))
    return torch.tensor(
        [[_signed(line >> WORD * word) for word in range(words)] for line in lines], dtype=torch.int64
    ).view(-1, words)


def marked(seen: Tensor) -> Tensor:
    """The bits of `Step.seen` for rows that see new places as `seen` [rows, new] bool says: [rows, words]."""
    rows, new = seen.shape
    words = max(1, -(-new // WORD))
    padded = torch.nn.functional.pad(seen, (0, words * WORD - new)).view(rows, words, WORD)
    return (padded.long() << torch.arange(WORD, device=seen.device)).sum(-1)


def unmarked(words: Tensor, new: int) -> Tensor:
    """What `marked` made words [rows, words] of: [rows, new] bool."""
    place = torch.arange(new, device=words.device)
    return (words[:, place // WORD] >> place % WORD & 1).bool()


def lineage(count: int, words: int) -> Tensor:
    """As `ancestry` of a chain of `count` tokens: [count, words] int64."""
    ones = torch.arange(1, count + 1).unsqueeze(1) - WORD * torch.arange(words)  # in each word, lowest first
    return torch.where(ones >= WORD, -1, (1 << ones.clamp(0, WORD - 1)) - 1)


def _signed(bits: int) -> int:
    low = bits % (1 << WORD)
    return low - (1 << WORD) if low >> (WORD - 1) else low
