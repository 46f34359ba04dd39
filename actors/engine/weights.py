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
from ringroad.actors.engine.names import gguf_name
from ringroad.actors.errors import ModelError
from ringroad.actors.gguf_file import GgufFile, TensorInfo
from ringroad.actors.positions import Positions, from_config, from_gguf
from ringroad.kernels.codes import Codes, joined
from ringroad.kernels.scaling import Divided, Scaling

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
    scaling: Scaling | None = None  # of the rotary frequencies


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


class _Altered:
    """A model's weights under another shape."""

    def __init__(self, whole: Weights, shape: Shape) -> None:
        self.shape = shape
        self.has = whole.has
        self.read = whole.read
        self.codes = whole.codes


class FirstLayers(_Altered):
    """A model's first layers, with its embedding, its last norm and its head: a model that exits early."""

    def __init__(self, whole: Weights, layers: int) -> None:
        """Raises ModelError where the model has fewer layers."""
        if not 1 <= layers <= whole.shape.layers:
            raise ModelError(f"layers: the model has {whole.shape.layers}, not {layers}")
        super().__init__(whole, replace(whole.shape, layers=layers))


class Stretched(_Altered):
    """A model that reads `factor` times the tokens it says, by YaRN."""

    def __init__(self, whole: Weights, factor: float) -> None:
        """Raises ModelError where the model scales its positions itself."""
        own = whole.shape
        found = Positions(own.context, own.theta, own.scaling).by_yarn(factor)
        super().__init__(whole, replace(own, context=found.context, scaling=found.scaling))


def open_weights(path: Path, layers: int | None = None, yarn_factor: float | None = None) -> Weights:
    """The model in a `.gguf` file or in a folder of config.json and *.safetensors; of its `layers` the
    first so many alone, reading `yarn_factor` times its context. Raises ModelError."""
    if yarn_factor is not None:
        return Stretched(open_weights(path, layers), yarn_factor)
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
        heads, width = value("attention.head_count"), value("embedding_length")
        positions = from_gguf(self.file)
        head_dim = value("attention.key_length", width // heads)
        if value("rope.dimension_count", head_dim) != head_dim:
            raise ModelError(
                f"{self.file.path}: rope.dimension_count {value('rope.dimension_count')} is not"
                f" supported; a head has {head_dim}"
            )
        return Shape(
            family=family,
            layers=value("block_count"),
            width=width,
            heads=heads,
            kv_heads=value("attention.head_count_kv", heads),
            head_dim=head_dim,
            ffn=value("feed_forward_length"),
            vocabulary=self.file.tensors["token_embd.weight"].shape[0],
            context=positions.context,
            theta=positions.theta,
            eps=value("attention.layer_norm_rms_epsilon"),
            scaling=self._divided(head_dim) or positions.scaling,
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

    def _divided(self, head_dim: int) -> Divided | None:
        """A Llama 3's scaling, which has no keys in GGUF: it is there as a tensor."""
        info = self.file.tensors.get("rope_freqs.weight")
        if info is None:
            return None
        by = torch.cat([ggml.dequantise(blocks, info.kind) for blocks in self._blocks(info)]).tolist()
        if len(by) != head_dim // 2 or not all(0 < number < math.inf for number in by):
            raise ModelError(f"{self.file.path}: rope_freqs.weight is not {head_dim // 2} positive numbers")
        if from_gguf(self.file).scaling is not None:
            raise ModelError(
                f"{self.file.path}: rope scaling and rope_freqs.weight at once are not supported"
            )
        return Divided(tuple(by))

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
        positions = from_config(self.path, config)
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
            context=positions.context,
            theta=positions.theta,
            eps=config["rms_norm_eps"],
            scaling=positions.scaling,
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
