"""One decoder definition for the Llama, Qwen2, Qwen3 and Mistral families."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ringroad.actors.engine.cache import Cache, Kept
from ringroad.actors.engine.cache import Span as Span
from ringroad.actors.engine.paged import Paged
from ringroad.actors.engine.pool import Pool
from ringroad.actors.engine.weights import Shape, Weights
from ringroad.kernels import linear, native
from ringroad.kernels.attention import attend, tiled, visible
from ringroad.kernels.codes import Codes, joined
from ringroad.kernels.layers import rms_norm, rotary_table, rotate
from ringroad.kernels.linear import Linear
from ringroad.kernels.triton import decoder as paged
from ringroad.kernels.triton.select import Kernels, kernels_for


@dataclass(frozen=True)
class Layer:
    """One decoder layer's weights; projections of the same input are fused."""

    attention_norm: Tensor
    qkv: Linear
    query_norm: Tensor | None  # Qwen3 alone norms its heads
    key_norm: Tensor | None
    out: Linear
    ffn_norm: Tensor
    gate_up: Linear  # gives silu(gate) * up
    down: Linear


# Of a layer's queries, keys and values [rows, heads or kv_heads, head_dim], all rotated: what they see,
# [rows, heads * head_dim].
Attention = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Decoder(Protocol):
    """A model as an engine rents it: on one device, or on a ring of them."""

    shape: Shape
    kernels: Kernels | None

    def pool(self, max_bytes: int) -> Any:
        """Memory for keys and values, of which `held` blocks are held and `idle` ones kept for later."""

    def cache(self, pool: Any, expected: int) -> Kept:
        """Room in it for a text that may come to so many tokens."""

    def forward(self, tokens: Tensor, positions: Tensor, spans: Sequence[Span[Any]]) -> Tensor:
        """Hidden states [rows, width] after the final norm."""

    def logits(self, hidden: Tensor, vocabulary: int | None = None) -> Tensor:
        """[rows, vocabulary] of hidden states."""


class Model:
    """A decoder in memory, packed for this processor."""

    def __init__(
        self,
        weights: Weights,
        kind: linear.Weights,
        threads: int = 2,
        device: str = "cpu",
        kernels: Kernels | None = None,
    ) -> None:
        """Reads and packs everything for `device`; `threads` layers at a time. Without `kernels` a CPU goes
        without, and another device takes its own."""
        self.shape: Shape = weights.shape
        self.dtype = linear.DTYPES[kind]
        self.device = torch.device(device)
        self._weights = weights
        self._has = weights.has
        self._kind = kind
        wanted = torch.get_num_threads()
        # One thread a layer, not every thread on every layer; torch sets this for the whole process.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            head = pool.submit(self._head)
            embedding = pool.submit(self._read, "model.embed_tokens.weight", self.dtype)
            self.layers = list(pool.map(self._layer, range(self.shape.layers)))
            self.head, self.embedding = head.result(), embedding.result()
        self._leading: dict[int, Linear] = {}  # parts of the head
        torch.set_num_threads(wanted)
        self.final_norm = self._read("model.norm.weight", torch.float32)
        cos, sin = rotary_table(self.shape.context, self.shape.head_dim, self.shape.theta, self.shape.scaling)
        self.cos, self.sin = cos.to(self.device), sin.to(self.device)
        self.kernels = kernels or (None if self.device.type == "cpu" else kernels_for(self.device))
        self._paged = self._native = None
        if self.kernels is None:
            heads = (self.shape.heads, self.shape.kv_heads, self.shape.head_dim)
            self._native = native.decoder(self.layers, self.final_norm, (cos, sin), heads, self.shape.eps)
        elif paged.fits(self.shape.head_dim):
            tables = (self.cos, self.sin)
            self._paged = Paged(
                paged.PagedDecoder(
                    self.embedding, self.layers, self.final_norm, tables, self.shape.eps, self.kernels
                )
            )

    def pool(self, max_bytes: int) -> Pool:
        """Memory for keys and values of this model."""
        return Pool(self.shape, self.dtype, self.device, max_bytes)

    def cache(self, pool: Pool, expected: int) -> Cache:
        """Room in it for a text."""
        return Cache(pool)

    def forward(
        self, tokens: Tensor, positions: Tensor, spans: Sequence[Span[Cache]], depth: int | None = None
    ) -> Tensor:
        """Hidden states [rows, width] after the final norm, of tokens and positions [rows] int64 on the CPU.

        Writes the rows' keys and values into their sessions' caches, after what those hold. With
        `depth` only the first layers speak.
        """
        if self._paged is not None:
            return self._paged.forward(tokens, positions, spans, depth)
        rows = self.embedding[tokens.to(self.device)]
        if self._native is not None:
            branches = [
                native.Branch(at.cache.table(), at.cache.length, at.stop - at.start, at.parents)
                for at in spans
            ]
            return self._native.forward(rows, positions, branches, depth)
        return self._through(rows, positions, _Own(self, spans), depth)

    def attended(self, tokens: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """As `forward`, of rows whose keys and values are somebody else's to keep and to look through."""
        return self._through(self.embedding[tokens.to(self.device)], positions, attention, None)

    def _through(self, rows: Tensor, positions: Tensor, attention: Attention, depth: int | None) -> Tensor:
        cos, sin = (table[positions.to(self.device)] for table in (self.cos, self.sin))
        for at, layer in enumerate(self.layers[:depth]):
            query, key, value = self._heads(layer, rows, cos, sin)
            rows = rows + layer.out(attention(at, query, key, value))
            rows = rows + layer.down(layer.gate_up(rms_norm(rows, layer.ffn_norm, self.shape.eps)))
        return rms_norm(rows, self.final_norm, self.shape.eps)

    def queries(self, tokens: Tensor, positions: Tensor, spans: Sequence[Span[Cache]], depth: int) -> Tensor:
        """What the layer at `depth` asks with, of rows as `forward` takes them: [rows, heads, head_dim].

        The layers before it write their keys and values, as in the pass that will write them again.
        """
        hidden = self.forward(tokens, positions, spans, depth).float()
        # The last norm's weights are taken back: norms forget lengths, so this is the layer's own norm.
        rows = (hidden / self.final_norm).to(self.dtype)
        cos, sin = (table[positions.to(self.device)] for table in (self.cos, self.sin))
        return self._heads(self.layers[depth], rows, cos, sin)[0]

    def logits(self, hidden: Tensor, vocabulary: int | None = None) -> Tensor:
        """[rows, vocabulary], of hidden states [rows, width]: of all ids, or of the first so many alone."""
        if vocabulary is None or vocabulary >= self.shape.vocabulary:
            return self.head(hidden)
        if vocabulary not in self._leading:
            self._leading[vocabulary] = linear.leading(self.head, vocabulary)
        return self._leading[vocabulary](hidden)[:, :vocabulary]

    def _heads(self, layer: Layer, rows: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of a layer's rows, normed where the model norms them, and rotated."""
        s = self.shape
        normed = rms_norm(rows, layer.attention_norm, s.eps)
        heads = layer.qkv(normed).view(len(rows), s.heads + 2 * s.kv_heads, s.head_dim)
        query, key, value = torch.split(heads, [s.heads, s.kv_heads, s.kv_heads], dim=1)
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = rms_norm(query, layer.query_norm, s.eps), rms_norm(key, layer.key_norm, s.eps)
        return rotate(query, cos, sin), rotate(key, cos, sin), value

    def _read(self, name: str, dtype: torch.dtype) -> Tensor:
        return self._weights.read(name, dtype).to(self.device)

    def _layer(self, depth: int) -> Layer:
        def norm(part: str) -> Tensor:
            return self._read(f"model.layers.{depth}.{part}.weight", torch.float32)

        def head_norm(part: str) -> Tensor | None:
            return norm(part) if self._has(f"model.layers.{depth}.{part}.weight") else None

        def fused(*parts: str, gated: bool = False) -> Linear:
            return self._linear(*(f"model.layers.{depth}.{part}" for part in parts), gated=gated)

        return Layer(
            attention_norm=norm("input_layernorm"),
            qkv=fused("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            query_norm=head_norm("self_attn.q_norm"),
            key_norm=head_norm("self_attn.k_norm"),
            out=fused("self_attn.o_proj"),
            ffn_norm=norm("post_attention_layernorm"),
            gate_up=fused("mlp.gate_proj", "mlp.up_proj", gated=True),
            down=fused("mlp.down_proj"),
        )

    def _head(self) -> Linear:
        tied = not self._has("lm_head.weight")
        return self._linear("model.embed_tokens" if tied else "lm_head")

    def _linear(self, *names: str, gated: bool = False) -> Linear:
        biased = self._has(f"{names[0]}.bias")
        bias = torch.cat([self._read(f"{name}.bias", self.dtype) for name in names]) if biased else None
        if self._kind == "bf16" and self.device.type == "cpu" and linear.reads_codes():
            codes = self._codes(*(f"{name}.weight" for name in names))
            layer = None if codes is None else linear.pack_codes(codes, bias, gated)
            if layer is not None:
                return layer
        weight = torch.cat([self._read(f"{name}.weight", self.dtype) for name in names])
        return linear.pack(weight, bias, self._kind, gated)

    def _codes(self, *names: str) -> Codes | None:
        """Tensors one after another as codes, where all of them are kept in the same way."""
        found = [codes for name in names if (codes := self._weights.codes(name)) is not None]
        return joined(found) if len(found) == len(names) else None


class _Own:
    """Attention over caches on the model's own device."""

    def __init__(self, model: Model, spans: Sequence[Span[Cache]]) -> None:
        self._spans = spans
        self._masks: list[Tensor] = []
        for at in spans:
            count, parents = at.stop - at.start, None if at.parents is None else list(at.parents)
            mask = visible(at.cache.length, parents, count, model.dtype).to(model.device)
            self._masks.append(tiled(mask, model.shape.heads // model.shape.kv_heads))

    def __call__(self, depth: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        seen = [
            attend(
                query[at.start : at.stop],
                *at.cache.write(depth, key[at.start : at.stop], value[at.start : at.stop]),
                mask,
            )
            for at, mask in zip(self._spans, self._masks, strict=True)
        ]
        return seen[0] if len(seen) == 1 else torch.cat(seen)
