"""Where a model's shape and weights come from: a GGUF file, or a Hugging Face folder.

Both speak one language here: Hugging Face's tensor names. Supported are dense decoders of the
Llama, Qwen2, Qwen3 and Mistral families; anything else is refused by name.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import gguf
import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ringroad.actors.engine import ggml
from ringroad.actors.errors import ModelError
from ringroad.actors.gguf_file import GgufFile, TensorInfo
from ringroad.kernels.codes import Codes, joined

FAMILIES = ("llama", "qwen2", "qwen3", "mistral")
SLICE = 1 << 18  # weights dequantised at a time: what stays in a core's cache


@dataclass(frozen=True)
class Shape:
    """A decoder's dimensions."""

    family: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    context: int  # tokens
    theta: float  # base of the rotary frequencies
    eps: float  # of the norms


class Weights(Protocol):
    """A model at rest."""

    @property
    def shape(self) -> Shape:
        """The model's dimensions. Raises ModelError for a family or feature no engine here runs."""

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        """A tensor by its Hugging Face name, dequantised. Raises ModelError when there is none."""

    def codes(self, name: str) -> Codes | None:
        """The same as codes that say no more and no less; None where it is not kept so."""


class FirstLayers:
    """A model's first layers, with its embedding, its last norm and its head: a model that exits early."""

    def __init__(self, whole: Weights, layers: int) -> None:
        """Raises ModelError where the model has fewer layers."""
        if not 1 <= layers <= whole.shape.layers:
            raise ModelError(f"layers: the model has {whole.shape.layers}, not {layers}")
        self.shape = replace(whole.shape, layers=layers)
        self.has = whole.has
        self.read = whole.read
        self.codes = whole.codes


def open_weights(path: Path, layers: int | None = None) -> Weights:
    """The model in a `.gguf` file or in a folder of config.json and *.safetensors; of its `layers` the
    first so many alone. Raises ModelError."""
    if layers is not None:
        return FirstLayers(open_weights(path), layers)
    if path.suffix == ".gguf" and path.is_file():
        return GgufWeights(path)
    if (path / "config.json").is_file():
        return FolderWeights(path)
    raise ModelError(f"{path}: neither a .gguf file nor a folder with a config.json")


def fingerprint(weights: Weights) -> str:
    """Which model this is, in 16 hex digits, whatever kind of file it is kept in and however its matrices are
    quantised there: its dimensions, and a few norms in bf16."""
    s = weights.shape
    sizes = (s.family, s.layers, s.width, s.heads, s.kv_heads, s.head_dim, s.ffn, s.vocabulary)
    found = hashlib.sha256(repr(sizes).encode())
    layers = [f"model.layers.{layer}" for layer in (0, s.layers - 1)]
    norms = [
        f"{layer}.{part}" for layer in layers for part in ("input_layernorm", "post_attention_layernorm")
    ]
    for name in ("model.norm", *norms):
        values = weights.read(f"{name}.weight", torch.bfloat16)
        found.update(values.contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


_GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """model.layers.3.mlp.up_proj.weight -> blk.3.ffn_up.weight"""
    stem, _, ending = name.rpartition(".")
    if not stem.startswith("model.layers."):
        return f"{_GGUF_NAMES[stem]}.{ending}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_GGUF_NAMES[part]}.{ending}"


class GgufWeights:
    """Weights in a GGUF file, in any storage type the gguf package can dequantise."""

    def __init__(self, path: Path) -> None:
        self.file = GgufFile(path)
        self._data = np.memmap(path, mode="r", dtype=np.uint8)

    @cached_property
    def shape(self) -> Shape:
        family = self.file.metadata.get("general.architecture", "?")
        _refuse_unknown(self.file.path, family)
        value = self.file.architecture_value
        if value("rope.scaling.type", "none") != "none":
            raise ModelError(f"{self.file.path}: rope scaling {value('rope.scaling.type')} is not supported")
        if "rope_freqs.weight" in self.file.tensors:
            raise ModelError(f"{self.file.path}: rope scaling by factors is not supported")
        heads, width = value("attention.head_count"), value("embedding_length")
        return Shape(
            family=family,
            layers=value("block_count"),
            width=width,
            heads=heads,
            kv_heads=value("attention.head_count_kv", heads),
            head_dim=value("attention.key_length", width // heads),
            ffn=value("feed_forward_length"),
            vocabulary=self.file.tensors["token_embd.weight"].shape[0],
            context=value("context_length"),
            theta=value("rope.freq_base", 10000.0),
            eps=value("attention.layer_norm_rms_epsilon"),
        )

    def has(self, name: str) -> bool:
        return gguf_name(name) in self.file.tensors

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        info = self._info(name)
        out = torch.empty(math.prod(info.shape), dtype=dtype)
        at = 0
        for blocks in self._blocks(info):
            part = ggml.dequantise(blocks, info.kind)
            out[at : at + len(part)] = part
            at += len(part)
        return self._in_halves(name, out.view(info.shape))

    def codes(self, name: str) -> Codes | None:
        info = self._info(name)
        if len(info.shape) != 2 or not ggml.knows(info.kind):
            return None
        parts = joined([codes for blocks in self._blocks(info) if (codes := ggml.read(blocks, info.kind))])
        assert parts is not None, "blocks of one kind"
        # A row is whole blocks, so what is by blocks is by rows as well.
        return parts.map(lambda part: self._in_halves(name, part.reshape(info.shape[0], -1)))

    def _info(self, name: str) -> TensorInfo:
        if not self.has(name):
            raise ModelError(f"{self.file.path}: no tensor {gguf_name(name)}")
        return self.file.tensors[gguf_name(name)]

    def _blocks(self, info: TensorInfo) -> Iterator[Tensor]:
        """A tensor's blocks [count, bytes] uint8, some at a time."""
        weights, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(info.kind)]
        end = info.offset + math.prod(info.shape) // weights * size
        if end > len(self._data):
            raise ModelError(f"{self.file.path}: cut short; {end - len(self._data)} bytes are missing")
        blocks = self._data[info.offset : end].reshape(-1, size)
        step = max(1, SLICE // weights)
        for at in range(0, len(blocks), step):
            yield torch.from_numpy(np.array(blocks[at : at + step]))

    def _in_halves(self, name: str, tensor: Tensor) -> Tensor:
        turned = self.shape.family == "llama" and (".q_proj." in name or ".k_proj." in name)
        return self._pairs_to_halves(tensor) if turned else tensor

    def _pairs_to_halves(self, tensor: Tensor) -> Tensor:
        # GGUF stores Llama's rotary pairs as neighbours; the engine turns halves against each other.
        heads = len(tensor) // self.shape.head_dim
        return tensor.view(heads, -1, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape).contiguous()


class FolderWeights:
    """Weights in a Hugging Face folder of safetensors files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._config: dict[str, Any] = json.loads((path / "config.json").read_text())
        self._where: dict[str, Path] = {}
        for part in sorted(path.glob("*.safetensors")):
            with safe_open(part, framework="pt") as file:
                self._where |= dict.fromkeys(file.keys(), part)

    @cached_property
    def shape(self) -> Shape:
        config = self._config
        _refuse_unknown(self.path, config.get("model_type", "?"))
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if rope.get("rope_type", rope.get("type", "default")) != "default":
            raise ModelError(f"{self.path}: rope scaling {rope} is not supported")
        if config.get("use_sliding_window") or (
            config["model_type"] == "mistral" and config.get("sliding_window")
        ):
            raise ModelError(f"{self.path}: sliding-window attention is not supported")
        heads, width = config["num_attention_heads"], config["hidden_size"]
        return Shape(
            family=config["model_type"],
            layers=config["num_hidden_layers"],
            width=width,
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or width // heads,
            ffn=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            context=config["max_position_embeddings"],
            theta=config.get("rope_theta") or rope.get("rope_theta") or 10000.0,
            eps=config["rms_norm_eps"],
        )

    def has(self, name: str) -> bool:
        return name in self._where

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        if not self.has(name):
            raise ModelError(f"{self.path}: no tensor {name}")
        with safe_open(self._where[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor.to(dtype)

    def codes(self, name: str) -> Codes | None:
        return None


def _refuse_unknown(path: Path, family: str) -> None:
    if family not in FAMILIES:
        raise ModelError(f"{path}: architecture {family}; supported are {', '.join(FAMILIES)}")
