"""A decoder on a ring: every rank has all weights, and of each text the rows and keys of some positions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ringroad.actors.engine.cache import Cache, Span
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.ring.attention import Around, RingAttention, Together, backend, deal
from ringroad.actors.engine.ring.shards import Pools, Shards
from ringroad.kernels.ring.communicator import Communicator
from ringroad.kernels.ring.cost import Device, Link, Shape, cheapest
from ringroad.kernels.ring.layout import needed
from ringroad.kernels.ring.merge import Partial
from ringroad.kernels.ring.pass_kv import pass_kv
from ringroad.kernels.ring.pass_q import pass_q
from ringroad.kernels.ring.token_ring import token_ring
from ringroad.kernels.ring.wire import Heads

FIRST = 0  # the rank that speaks for all
FEW = 64  # rows of a step that are never worth moving keys for: they decode, or are guesses


@dataclass(frozen=True)
class Way:
    """How a step's attention goes round. All ranks choose by the same figures, so that they choose alike."""

    schedule: str  # "auto", or always this one, where it can
    link: Link
    device: Device

    def of(self, joint: Together, heads: Heads) -> str:
        """The schedule for a step: of `pass_q`, `pass_kv` and, for a single chain, `token_ring`."""
        (session, *others) = joint.sessions
        single = session.chain and not others
        if self.schedule != "auto":
            return "pass_q" if self.schedule == "token_ring" and not single else self.schedule
        rows, keys = sum(map(len, joint.rows)), sum(joint.sizes)
        if rows <= FEW:
            return "pass_q"
        if not single:  # what is fewer bytes
            going = rows * (heads.query_bytes + heads.partial_bytes)
            return "pass_q" if going <= keys * heads.key_value_bytes else "pass_kv"
        start = session.cache.length
        return cheapest(Shape(heads, session.cache.layout, start, start + rows), self.link, self.device)


class RingModel:
    """One rank's end of it. All ranks are told the same steps; hidden states are gathered at FIRST."""

    def __init__(
        self,
        model: Model,
        ring: Communicator,
        back: Communicator,
        min_tokens: int,
        way: Way,
    ) -> None:
        """Texts that may come to `min_tokens` go round the ring; shorter ones stay on one rank each. `back`:
        a second communicator of the same ranks."""
        self.shape, self.kernels, self.logits = model.shape, model.kernels, model.logits
        self._model, self._ring, self._back = model, ring, back
        self._min_tokens, self._way = min_tokens, way
        self._backend = backend(model.kernels, model.shape.head_dim)
        self._heads = Heads(model.shape.heads, model.shape.kv_heads, model.shape.head_dim, model.dtype)

    def pool(self, max_bytes: int) -> Pools:
        """Memory for keys and values, so much at each rank."""
        model, ring = self._model, self._ring
        return Pools(model.shape, model.dtype, model.device, max_bytes, ring.rank, ring.ranks)

    def cache(self, pool: Pools, expected: int) -> Shards:
        """Room in it for a text; of one that may come to nobody knows what (0), on all ranks."""
        room = pool.each[0].capacity * BLOCK
        return pool.shards(together=(expected or self.shape.context) >= min(self._min_tokens, room))

    def forward(self, tokens: Tensor, positions: Tensor, spans: Sequence[Span[Shards]]) -> Tensor:
        """Hidden states [rows, width] after the final norm: of all rows at FIRST, elsewhere of own rows among
        zeros. Raises RingBroken."""
        ring = self._ring
        whole = [[span for span in spans if span.cache.holder == rank] for rank in range(ring.ranks)]
        joint = Together(
            [
                deal(span, positions[span.start : span.stop].tolist())
                for span in spans
                if span.cache.holder is None
            ],
            ring.rank,
            ring.ranks,
            self._backend,
        )
        rows = [_rows(mine) + shared for mine, shared in zip(whole, joint.rows, strict=True)]
        parts = [torch.empty(0, self.shape.width, dtype=self._model.dtype, device=self._model.device)]
        if whole[ring.rank]:
            parts.append(self._whole(tokens, positions, whole[ring.rank]))
        if any(joint.rows):
            own = joint.rows[ring.rank]
            attention = RingAttention(joint, self._around(joint))
            parts.append(self._model.attended(tokens[own], positions[own], attention))
        return self._gathered(torch.cat(parts), rows)

    def _whole(self, tokens: Tensor, positions: Tensor, spans: Sequence[Span[Shards]]) -> Tensor:
        """Rows of texts that this rank has to itself: as on one device."""
        own: list[Span[Cache]] = []
        for span in spans:
            start = own[-1].stop if own else 0
            stop = start + span.stop - span.start
            own.append(Span(span.cache.parts[self._ring.rank], start, stop, span.parents))
        rows = _rows(spans)
        return self._model.forward(tokens[rows], positions[rows], own)

    def _around(self, joint: Together) -> Around:
        ring, rank, rows = self._ring, self._ring.rank, [len(each) for each in joint.rows]

        def over(layer: int) -> Callable[[Tensor, int], Partial]:
            held = joint.held(layer)
            return lambda query, owner: joint.seen(query, held, owner, rank)

        def of(query: Tensor) -> Callable[[Tensor, int], Partial]:
            return lambda held, owner: joint.seen(query, held, rank, owner, moved=True)

        match self._way.of(joint, self._heads):
            case "pass_q":
                return lambda layer, query: pass_q(ring, query, rows, over(layer), joint.merge)
            case "pass_kv":
                return lambda layer, query: pass_kv(
                    ring, joint.message(layer), joint.blocks, of(query), joint.merge
                )
            case _:
                cache = joint.sessions[0].cache
                see = needed(cache.layout, cache.length, cache.length + sum(rows))
                return lambda layer, query: token_ring(ring, self._back, query, see, over(layer), joint.merge)

    def _gathered(self, hidden: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
        ring = self._ring
        found = hidden.new_zeros(sum(map(len, rows)), hidden.shape[1])
        found[list(rows[ring.rank])] = hidden
        theirs = {
            rank: hidden.new_empty(len(rows[rank]), hidden.shape[1])
            for rank in range(ring.ranks)
            if rank != ring.rank == FIRST
        }
        if ring.rank != FIRST:
            ring.send_recv(hidden, FIRST, None, FIRST)
        for rank, coming in theirs.items():
            ring.send_recv(None, rank, coming, rank)
        ring.commit()
        ring.wait()
        for rank, coming in theirs.items():
            found[list(rows[rank])] = coming
        return found


def _rows(spans: Sequence[Span[Shards]]) -> list[int]:
    return [row for span in spans for row in range(span.start, span.stop)]
