"""What one session's passes see of its text, where they need not see all of it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

import torch
from torch import Tensor

from ringroad.actors.engine.cache import Cache, Span
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.views import Past, View

AGAIN = 32  # tokens after which attention is looked at again
LOOKERS = 32  # rows at most of a pass that are looked at: more of them read a prompt


class Focus:
    """Which blocks of a cache are seen, as a view says; and where that is by attention, what it was.

    Committed text does not change, so what is known of its blocks stays true when guesses are rolled back.
    """

    def __init__(self, view: View | None) -> None:
        """None: always everything."""
        self._view = view
        self._past = Past(0)
        self._looked: int | None = None  # tokens there were then
        self._chosen: list[int] = []

    def part(self, model: Model, at: Span[Cache], tokens: Tensor, positions: Tensor) -> Span[Cache]:
        """The span over what its rows are to see: the same where that is everything.

        tokens, positions: [rows] of the pass that it is of.
        """
        view, length, past = self._view, at.cache.length, self._past
        if view is None or length // BLOCK <= view.room:
            return at
        stale = self._looked is None or abs(length - self._looked) >= AGAIN
        if view.looks and stale and at.stop - at.start <= LOOKERS:
            past = _seeing(past, shares(model, at, tokens, positions))
            self._looked = length
        if past.blocks != length // BLOCK:
            past = replace(past, blocks=length // BLOCK)
        if past is not self._past:
            self._past, self._chosen = past, view.of(past)
        return replace(at, cache=at.cache.part(self._chosen))


def _seeing(past: Past, now: Sequence[float]) -> Past:
    """With further shares of attention."""
    ever = [sum(each) for each in zip_longest(past.ever, now, fillvalue=0.0)]
    return replace(past, now=now, ever=ever)


def shares(model: Model, at: Span[Cache], tokens: Tensor, positions: Tensor) -> list[float]:
    """How the attention of a span's rows in the middle layer is shared among the full blocks of its cache.

    The layers below are computed for it, over all of the text. Exact for that layer, its heads and these rows
    together, between full blocks alone.
    """
    depth, blocks = model.shape.layers // 2, at.cache.length // BLOCK
    mine, own = slice(at.start, at.stop), Span(at.cache, 0, at.stop - at.start, at.parents)
    asked = model.queries(tokens[mine], positions[mine], [own], depth)
    pool = at.cache.pool.data
    keys = pool[at.cache.blocks()[:blocks].long().to(pool.device), depth, 0]  # [blocks, kv_heads, BLOCK, dim]
    kv_heads, dim = keys.shape[1], keys.shape[3]
    grouped = asked.float().view(len(asked), kv_heads, -1, dim)
    scores = torch.einsum("rhgd,bhkd->rhgbk", grouped, keys.float()) * dim**-0.5
    weights = scores.flatten(-2).softmax(-1).view(scores.shape).sum(-1)  # [rows, kv_heads, group, blocks]
    found: list[float] = weights.mean((0, 1, 2)).tolist()
    return found
