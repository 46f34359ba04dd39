"""Tiny models in memory, and pairs of them that agree often but not always."""

from dataclasses import replace
from functools import cache
from typing import Literal
from unittest.mock import patch

import torch
from torch import Tensor

from ringroad.actors.engine.cache import Cache
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.weights import Shape
from ringroad.kernels.linear import Weights
from ringroad.kernels.triton.select import TWINS

# Weights, and which kernels compute: the native ones where this machine has them, or torch's. "paged" goes
# the way of a GPU in fp32, with the kernels' twins.
Kind = Weights | Literal["torch-bf16", "torch-int4", "paged"]
KINDS: list[Kind] = ["fp32", "bf16", "int4", "torch-bf16", "torch-int4", "paged"]

SHAPE = Shape(
    family="qwen2",
    layers=2,
    width=64,
    heads=4,
    kv_heads=2,
    head_dim=32,
    ffn=96,
    vocabulary=320,
    context=1200,
    theta=10_000.0,
    eps=2.0**-20,  # exact in fp32, as GGUF keeps it
)


class TinyWeights:
    """Random weights by name: the `Weights` of engine/weights.py without a file."""

    def __init__(self, shape: Shape = SHAPE, seed: int = 0, shaken: float = 0.0) -> None:
        """`shaken`: how much of every weight is noise of its own, the rest being the seed's."""
        self.shape = shape
        generator = torch.Generator().manual_seed(seed)
        own = torch.Generator().manual_seed(seed + 1)
        self._tensors: dict[str, Tensor] = {}
        for name, sizes, scale in _tensors(shape):
            common = torch.randn(sizes, generator=generator) * scale
            noise = torch.randn(sizes, generator=own) * scale
            norm = 1.0 if name.endswith("norm.weight") else 0.0
            self._tensors[name] = norm + common + shaken * noise

    def has(self, name: str) -> bool:
        return name in self._tensors

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        return self._tensors[name].to(dtype)

    def codes(self, name: str) -> None:
        return None


def _tensors(s: Shape) -> list[tuple[str, tuple[int, ...], float]]:
    """Names, sizes and scales; scales that make a text wander and a distribution peak."""
    kv = s.kv_heads * s.head_dim
    found: list[tuple[str, tuple[int, ...], float]] = [
        ("model.embed_tokens.weight", (s.vocabulary, s.width), 1.0),
        ("lm_head.weight", (s.vocabulary, s.width), 0.5),
        ("model.norm.weight", (s.width,), 0.1),
    ]
    for layer in range(s.layers):
        at = f"model.layers.{layer}."
        found += [
            (f"{at}input_layernorm.weight", (s.width,), 0.1),
            (f"{at}post_attention_layernorm.weight", (s.width,), 0.1),
            (f"{at}self_attn.o_proj.weight", (s.width, s.heads * s.head_dim), 0.3),
            (f"{at}mlp.gate_proj.weight", (s.ffn, s.width), 0.2),
            (f"{at}mlp.up_proj.weight", (s.ffn, s.width), 0.2),
            (f"{at}mlp.down_proj.weight", (s.width, s.ffn), 0.2),
        ]
        for part, rows in (("q", s.heads * s.head_dim), ("k", kv), ("v", kv)):
            found.append((f"{at}self_attn.{part}_proj.weight", (rows, s.width), 0.25))
            found.append((f"{at}self_attn.{part}_proj.bias", (rows,), 0.1))
    return found


@cache
def tiny(kind: Kind = "fp32", seed: int = 0, shaken: float = 0.0, layers: int = SHAPE.layers) -> Model:
    """A tiny model; the same arguments give the same object."""
    found = TinyWeights(replace(SHAPE, layers=layers), seed, shaken)
    if kind == "paged":
        return Model(found, "fp32", threads=1, kernels=TWINS)
    weights: Weights = "bf16" if kind == "torch-bf16" else "int4" if kind == "torch-int4" else kind
    if weights == kind:
        return Model(found, weights, threads=1)
    with patch("ringroad.kernels.native.linear.library", return_value=None):
        return Model(found, weights, threads=1)


def prompt(length: int, seed: int = 0) -> list[int]:
    """Random tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, SHAPE.vocabulary, (length,), generator=generator).tolist()


def same_after_a_tree(kind: Kind, ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """The same bits; of side branches in fp32 decisions/0001 promises the tokens, not the last bit."""
    return torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5) if kind == "fp32" else torch.equal(ours, theirs)


def bits(cache: Cache) -> torch.Tensor:
    """All that a cache keeps, place by place: [tokens, layers, key or value, kv_heads, head_dim]."""
    data = cache.pool.data
    places = [data[cache._blocks[at // BLOCK], :, :, :, at % BLOCK] for at in range(cache.length)]
    return torch.stack(places) if places else data.new_empty(0)
