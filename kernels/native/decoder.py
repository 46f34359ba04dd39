"""A whole decoder's step in one call of the C library."""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ringroad.kernels.native.library import (
    BLOCK,
    WIDEST_HEAD,
    Decoder,
    Layer,
    address,
    checked,
    library,
)
from ringroad.kernels.native.library import Linear as Descriptor
from ringroad.kernels.native.linear import GROUP, Packed

ROW = np.dtype([(name, np.int64) for name in ("table", "position", "place", "prefix", "extra", "extras")])


Linear = Callable[[Tensor], Tensor]


class Parts(Protocol):
    """A layer's weights: norms fp32, those of the heads only where the model has them."""

    @property
    def attention_norm(self) -> Tensor: ...
    @property
    def qkv(self) -> Linear: ...
    @property
    def query_norm(self) -> Tensor | None: ...
    @property
    def key_norm(self) -> Tensor | None: ...
    @property
    def out(self) -> Linear: ...
    @property
    def ffn_norm(self) -> Tensor: ...
    @property
    def gate_up(self) -> Linear: ...
    @property
    def down(self) -> Linear: ...


@dataclass(frozen=True)
class Branch:
    """New tokens of one session in a step, and where their keys and values go."""

    table: Tensor  # addresses of the session's blocks, int64
    base: int  # places before these tokens
    count: int
    parents: Sequence[int] | None  # of each token: an earlier one of these, or -1; None is a chain


def decoder(
    layers: Sequence[Parts],
    final_norm: Tensor,
    tables: tuple[Tensor, Tensor],
    heads: tuple[int, int, int],
    eps: float,
) -> "NativeDecoder | None":
    """These layers as the C decoder runs them; None where one is not packed for it or a size does not fit."""
    packed = all(isinstance(p, Packed) for at in layers for p in (at.qkv, at.out, at.gate_up, at.down))
    if not packed or heads[2] % GROUP or heads[2] > WIDEST_HEAD:
        return None
    return NativeDecoder(layers, final_norm, tables, heads, eps)


class NativeDecoder:
    """Layers and tables as C wants them. Keeps what it points into."""

    def __init__(
        self,
        layers: Sequence[Parts],
        final_norm: Tensor,
        tables: tuple[Tensor, Tensor],
        heads: tuple[int, int, int],
        eps: float,
    ) -> None:
        """tables: cosines and signed sines [context, 1, head_dim] fp32; heads: query, key, head_dim."""
        self._kept = (list(layers), final_norm, tables)
        self._layers = (Layer * len(layers))(*map(_described, layers))
        cos, sin = tables
        query, key, dim = heads
        self._width = len(final_norm)
        self._model = Decoder(
            self._width, query, key, dim, eps, address(cos), address(sin), address(final_norm), self._layers
        )

    def forward(
        self, stream: Tensor, positions: Tensor, branches: Sequence[Branch], depth: int | None = None
    ) -> Tensor:
        """Hidden states [rows, width] after the final norm, of embeddings `stream` [rows, width] bf16, which
        are overwritten, at positions [rows], through the first `depth` layers. Raises MemoryError."""
        found = library()
        assert found is not None
        rows, extra = _rows(positions, branches)
        hidden = torch.empty_like(stream)
        code = found.forward(
            ctypes.byref(self._model),
            len(self._layers) if depth is None else depth,
            address(hidden),
            address(stream),
            rows.ctypes.data,
            len(rows),
            torch.get_num_threads(),
        )
        del extra  # not before: rows point into it
        checked(code)
        return hidden


def _described(parts: Parts) -> Layer:
    def linear(layer: Linear) -> Descriptor:
        assert isinstance(layer, Packed)
        return layer.descriptor

    return Layer(
        address(parts.attention_norm),
        address(parts.query_norm),
        address(parts.key_norm),
        address(parts.ffn_norm),
        linear(parts.qkv),
        linear(parts.out),
        linear(parts.gate_up),
        linear(parts.down),
    )


def _rows(positions: Tensor, branches: Sequence[Branch]) -> tuple[np.ndarray, np.ndarray]:
    """The C rows of all branches, and the places their `extra` points into."""
    rows = np.zeros(len(positions), ROW)
    rows["position"] = positions.numpy()
    ancestors: list[list[int]] = []
    at = 0
    for branch in branches:
        mine = rows[at : at + branch.count]
        assert branch.base + branch.count <= len(branch.table) * BLOCK
        mine["table"] = branch.table.data_ptr()
        mine["place"] = np.arange(branch.base, branch.base + branch.count)
        mine["prefix"] = mine["place"] + 1 if branch.parents is None else branch.base
        paths = _paths(branch) if branch.parents is not None else [[]] * branch.count
        ancestors += paths
        at += branch.count
    extra = np.array([place for path in ancestors for place in path], np.int32)
    rows["extras"] = [len(path) for path in ancestors]
    rows["extra"] = extra.ctypes.data + extra.itemsize * (np.cumsum(rows["extras"]) - rows["extras"])
    return rows, extra


def _paths(branch: Branch) -> list[list[int]]:
    """For each token of a tree the places of its ancestors and of itself, from the root on."""
    paths: list[list[int]] = []
    for node, parent in enumerate(branch.parents or ()):
        paths.append([*(paths[parent] if parent >= 0 else []), branch.base + node])
    return paths
