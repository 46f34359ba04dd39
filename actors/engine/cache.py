"""The keys and values of one session: grows by whole attention blocks, rolls back exactly."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ringroad.actors.engine.weights import Shape
from ringroad.kernels.attention import span


class Cache:
    """Keys and values of `length` tokens, and room behind them for the tokens of a step."""

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device) -> None:
        self.length = 0
        places = (shape.layers, 2, shape.kv_heads, 0, shape.head_dim)
        self._data = torch.empty(places, dtype=dtype, device=device)

    @property
    def places(self) -> int:
        """Tokens there is memory for."""
        return self._data.shape[3]

    def reserve(self, tokens: int) -> None:
        """Makes room for `tokens` in all. Grows by half at least, so that copying stays linear."""
        if tokens <= self.places:
            return
        old = self._data
        # Zeros, because attention multiplies what it masks by zero: garbage could be a NaN.
        self._data = old.new_zeros(*old.shape[:3], span(max(tokens, self.places * 3 // 2)), old.shape[4])
        self._data[:, :, :, : self.length] = old[:, :, :, : self.length]

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts key and value [rows, kv_heads, head_dim] behind what is kept, without keeping them yet.

        Returns all keys and values that attention reads, those included: [kv_heads, span, head_dim].
        """
        end = self.length + len(key)
        data = self._data[layer]
        data[0, :, self.length : end] = key.transpose(0, 1)
        data[1, :, self.length : end] = value.transpose(0, 1)
        reach = span(end)
        return data[0, :, :reach], data[1, :, :reach]

    def keep(self, start: int, path: Sequence[int]) -> None:
        """Keeps `start` tokens and, of those written behind them, only `path`, in its order."""
        if any(node != i for i, node in enumerate(path)):
            nodes = torch.tensor([start + node for node in path], device=self._data.device)
            self._data[:, :, :, start : start + len(path)] = self._data.index_select(3, nodes)
        self.length = start + len(path)
