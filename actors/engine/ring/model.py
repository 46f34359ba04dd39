"""A decoder on a ring: every rank has all weights, and of each text the rows and keys of some positions."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from ringroad.actors.engine.cache import Span
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.ring.attention import Around, RingAttention, Together, deal, rows_of
from ringroad.actors.engine.ring.shards import Pools, Shards
from ringroad.kernels.ring.communicator import Communicator
from ringroad.kernels.ring.merge import Partial
from ringroad.kernels.ring.pass_kv import moves as pass_kv_moves
from ringroad.kernels.ring.pass_kv import pass_kv
from ringroad.kernels.ring.pass_q import moves as pass_q_moves
from ringroad.kernels.ring.pass_q import pass_q
from ringroad.kernels.ring.wire import Heads

FIRST = 0  # the rank that speaks for all


class RingModel:
    """One rank's end of it. All ranks are told the same steps; hidden states are gathered at FIRST."""

    def __init__(self, model: Model, ring: Communicator, min_tokens: int, schedule: str = "auto") -> None:
        """Texts that may come to `min_tokens` go round the ring; shorter ones stay on one rank each.
        `schedule`: "pass_q", "pass_kv", or "auto", which moves fewer bytes."""
        self.shape, self.kernels, self.logits = model.shape, model.kernels, model.logits
        self._model, self._ring, self._min_tokens = model, ring, min_tokens
        self._schedule = schedule
        self._heads = Heads(model.shape.heads, model.shape.kv_heads, model.shape.head_dim, model.dtype)

    def pool(self, max_bytes: int) -> Pools:
        """Memory for keys and values, so much at each rank."""
        model, ring = self._model, self._ring
        return Pools(model.shape, model.dtype, model.device, max_bytes, ring.rank, ring.ranks)

    def cache(self, pool: Pools, expected: int) -> Shards:
        """Room in it for a text."""
        room = pool.each[0].capacity * BLOCK
        return pool.shards(together=expected >= min(self._min_tokens, room))

    def forward(self, tokens: Tensor, positions: Tensor, spans: Sequence[Span[Shards]]) -> Tensor:
        """Hidden states [rows, width] after the final norm: of all rows at FIRST, elsewhere of own rows among
        zeros. Raises RingBroken."""
        dealt = [deal(span, positions[span.start : span.stop].tolist()) for span in spans]
        rows = [rows_of(dealt, rank) for rank in range(self._ring.ranks)]
        own = rows[self._ring.rank]
        attention = RingAttention(self._ring.rank, dealt, self._around)
        return self._gathered(self._model.attended(tokens[own], positions[own], attention), rows)

    def _around(self, joint: Together) -> Around:
        rows = [len(each) for each in joint.rows]
        queries = sum(move.bytes for move in pass_q_moves(rows, self._heads))
        keys = sum(move.bytes for move in pass_kv_moves(joint.sizes, self._heads))
        auto = "pass_q" if queries <= keys else "pass_kv"
        chosen = auto if self._schedule == "auto" else self._schedule
        return partial(self._by_queries if chosen == "pass_q" else self._by_keys, joint)

    def _by_queries(self, joint: Together, query: Tensor, held: Tensor) -> Partial:
        rank = self._ring.rank
        rows = [len(each) for each in joint.rows]
        return pass_q(self._ring, query, rows, lambda theirs, owner: joint.seen(theirs, held, owner, rank))

    def _by_keys(self, joint: Together, query: Tensor, held: Tensor) -> Partial:
        rank = self._ring.rank
        return pass_kv(
            self._ring, held, joint.sizes, lambda theirs, owner: joint.seen(query, theirs, rank, owner)
        )

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
