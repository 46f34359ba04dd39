"""A whole decoder's step over a paged cache: a dozen launches a layer, however many sessions there are.

The face of `native.NativeDecoder` for devices with kernels of their own; with the twins, its oracle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ringroad.kernels.native.decoder import Parts
from ringroad.kernels.triton.batch import Inputs, Turn
from ringroad.kernels.triton.select import Kernels

NARROWEST_HEAD = 16


def fits(head_dim: int) -> bool:
    """Whether the kernels take heads of this size."""
    return head_dim >= NARROWEST_HEAD and head_dim & (head_dim - 1) == 0


@dataclass(frozen=True)
class PagedDecoder:
    """Layers and tables on one device, and the kernels that it takes."""

    embedding: Tensor  # [vocabulary, width]
    layers: Sequence[Parts]
    final_norm: Tensor  # [width] fp32
    tables: tuple[Tensor, Tensor]  # cosines and signed sines [context, 1, head_dim] fp32
    eps: float
    kernels: Kernels

    def forward(
        self, cache: Tensor, inputs: Inputs, most_rows: int | None = None, depth: int | None = None
    ) -> Tensor:
        """Hidden states [rows, width] after the final norm and the first `depth` layers.

        cache [blocks, layers, key or value, kv_heads, places, head_dim]: read where `inputs.table` says,
        written at `inputs.slots`. No session has more than `most_rows` rows.
        """
        step = inputs.step(cache.shape[4], most_rows)
        stream = self.embedding[inputs.tokens]
        added: Tensor | None = None
        for at, layer in enumerate(self.layers[:depth]):
            keys, values = cache[:, at, 0], cache[:, at, 1]
            normed = self.kernels.add_norm(stream, added, layer.attention_norm, self.eps)
            heads = layer.qkv(normed).view(len(stream), -1, cache.shape[5])
            query = self.kernels.place(heads, keys, values, self._turn(layer, inputs))
            seen, _ = self.kernels.attend(query, keys, values, step)
            added = layer.out(seen.to(stream.dtype).flatten(1))
            normed = self.kernels.add_norm(stream, added, layer.ffn_norm, self.eps)
            added = layer.down(layer.gate_up(normed))
        return self.kernels.add_norm(stream, added, self.final_norm, self.eps)

    def _turn(self, layer: Parts, inputs: Inputs) -> Turn:
        norms = None
        if layer.query_norm is not None and layer.key_norm is not None:
            norms = layer.query_norm, layer.key_norm
        return Turn(inputs.positions, inputs.slots, *self.tables, self.eps, norms)
