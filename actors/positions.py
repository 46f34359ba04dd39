"""How long a text may be for a model, and how its positions are turned: from config.json, or from GGUF keys.

Without torch, since the gateway asks as well. Scaling is what transformers makes of the same
config.json, and llama.cpp of the same GGUF keys. What is not understood is refused by name: a model
whose positions are turned in another way than it was trained with answers, and badly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringroad.actors.errors import ModelError
from ringroad.actors.gguf_file import GgufFile
from ringroad.kernels.scaling import Linear, Llama3, Scaling, Yarn, magnitude

_YARN_EXTRAS = ("attention_factor", "mscale", "mscale_all_dim", "beta_fast", "beta_slow", "truncate")
# Of each type of scaling the keys it must have, and those it may have.
_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), ()),
    "linear": (("factor",), ()),
    "dynamic": (("factor",), ()),
    "yarn": (("factor", "original_max_position_embeddings"), _YARN_EXTRAS),
    "llama3": (
        ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
        (),
    ),
}
_FLAGS = ("truncate",)
_GGUF_NAMES = {
    "original_context_length": "original_max_position_embeddings",
    "yarn_beta_fast": "beta_fast",
    "yarn_beta_slow": "beta_slow",
}
# What nobody here computes with, and its value when it changes nothing.
_GGUF_NEUTRAL = {"alpha": 1.0, "yarn_ext_factor": 1.0, "yarn_attn_factor": 1.0, "yarn_log_multiplier": 0.0}


@dataclass(frozen=True)
class Positions:
    """What a model says of them."""

    context: int  # tokens
    theta: float  # base of the rotary frequencies
    scaling: Scaling | None = None

    def by_yarn(self, factor: float) -> "Positions":
        """A context of `factor` times the tokens. Raises ModelError where positions are scaled already."""
        if self.scaling is not None:
            raise ModelError(f"yarn_factor: the model scales its positions itself: {self.scaling}")
        yarn = Yarn(factor, self.context, magnitude(factor))
        return Positions(stretched(self.context, factor), self.theta, yarn)


def stretched(context: int, factor: float | None) -> int:
    """Tokens of a context after `by_yarn`, or as it is."""
    return context if factor is None else round(factor * context)


def from_config(path: Path, config: Mapping[str, Any]) -> Positions:
    """Of a Hugging Face folder's config.json. Raises ModelError."""
    if not isinstance(config.get("max_position_embeddings"), int):
        raise ModelError(f"{path}: no max_position_embeddings in config.json")
    rope = _rope(path, config)
    theta = rope.pop("rope_theta", None) or config.get("rope_theta") or 10000.0
    if (partial := rope.pop("partial_rotary_factor", config.get("partial_rotary_factor"))) not in (None, 1):
        raise ModelError(f"{path}: partial_rotary_factor {partial} is not supported")
    legacy = rope.pop("type", "default")
    kind = rope.pop("rope_type", legacy)
    if kind in ("yarn", "llama3") and "original_max_position_embeddings" in config:
        rope["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    return _scaled(f"{path}: rope scaling", kind, rope, config["max_position_embeddings"], theta)


def from_gguf(file: GgufFile) -> Positions:
    """Of a GGUF file's metadata. Raises ModelError."""
    value, where = file.architecture_value, f"{file.path}: rope scaling"
    prefix = f"{file.metadata['general.architecture']}.rope.scaling."
    said = {k.removeprefix(prefix): v for k, v in file.metadata.items() if k.startswith(prefix)}
    kind = said.pop("type", None)
    for key, neutral in _GGUF_NEUTRAL.items():
        if said.pop(key, neutral) != neutral:
            raise ModelError(f"{where} {kind}: {key} is not supported")
    if value("rope.scale_linear", 1.0) != 1 or (kind is None and said.get("factor", 1) != 1):
        raise ModelError(f"{where}: a factor without a type")  # readers differ in what they make of it
    attention = said.pop("attn_factor", 1.0)
    if kind != "yarn" and attention != 1:
        raise ModelError(f"{where} {kind}: attn_factor is not supported")
    rope = {_GGUF_NAMES.get(key, key): number for key, number in said.items() if key != "finetuned"}
    if kind in (None, "none"):
        kind, rope = "default", {}
    if kind == "linear":
        rope.pop("original_max_position_embeddings", None)  # told, and not computed with
    if kind == "yarn" and "factor" in rope:
        # A multiple of YaRN's own magnitude here, and in place of it in config.json.
        rope["attention_factor"] = attention * magnitude(rope["factor"])
    return _scaled(where, kind, rope, value("context_length"), value("rope.freq_base", 10000.0))


def _rope(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says of the rotation, under its name of today or of before."""
    given = [rope for name in ("rope_parameters", "rope_scaling") if (rope := config.get(name))]
    if any(rope != given[0] for rope in given):
        raise ModelError(f"{path}: rope_parameters and rope_scaling say different things")
    return dict(given[0]) if given else {}


def _scaled(where: str, kind: str, rope: Mapping[str, Any], context: int, theta: float) -> Positions:
    """Raises ModelError for a type that is not known, a key too many or too few, a number that is none."""
    if kind not in _KEYS:
        raise ModelError(f"{where} {kind} is not supported; supported are {', '.join(_KEYS)}")
    needed, optional = _KEYS[kind]
    given = {key: value for key, value in rope.items() if value is not None}
    for key in given:
        if key not in (*needed, *optional):
            raise ModelError(f"{where} {kind}: {key} is not supported")
    for key in needed:
        if key not in given:
            raise ModelError(f"{where} {kind}: {key} is missing")
    for key, value in given.items():
        right = isinstance(value, bool) if key in _FLAGS else _positive(value)
        if not right:
            raise ModelError(f"{where} {kind}: {key} is {value!r}")
    if given.get("factor", 1) < 1:
        raise ModelError(f"{where} {kind}: factor is {given['factor']}, less than 1")
    for low, high in (("low_freq_factor", "high_freq_factor"), ("beta_slow", "beta_fast")):
        if low in given and high in given and given[low] >= given[high]:
            raise ModelError(f"{where} {kind}: {low} {given[low]} is not below {high} {given[high]}")
    scaling = _scaling(kind, given)
    if isinstance(scaling, Yarn):
        # People add scaling to config.json and leave its max_position_embeddings, as Qwen's cards tell them.
        context = max(context, stretched(scaling.original, scaling.factor))
    return Positions(context, theta, scaling)


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _scaling(kind: str, rope: Mapping[str, Any]) -> Scaling | None:
    match kind:
        case "linear":
            return Linear(rope["factor"])
        case "yarn":
            return Yarn(
                rope["factor"],
                rope["original_max_position_embeddings"],
                _magnitude(rope),
                rope.get("beta_fast", 32.0),
                rope.get("beta_slow", 1.0),
                rope.get("truncate", True),
            )
        case "llama3":
            return Llama3(
                rope["factor"],
                rope["low_freq_factor"],
                rope["high_freq_factor"],
                rope["original_max_position_embeddings"],
            )
    # "dynamic" turns the positions of max_position_embeddings tokens as if it were not there. Behind them it
    # turns all positions anew with every token, so keys that are kept would be wrong: the context ends there.
    return None


def _magnitude(rope: Mapping[str, Any]) -> float:
    factor, whole, part = rope["factor"], rope.get("mscale"), rope.get("mscale_all_dim")
    if "attention_factor" in rope:
        return float(rope["attention_factor"])
    if whole and part:
        return magnitude(factor, whole) / magnitude(factor, part)
    return magnitude(factor)
