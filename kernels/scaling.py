"""How rotary frequencies are stretched, so that a model reads more than it was trained on: facts, no tensors.

`layers.frequencies` computes with them; what they mean for a context is said in `actors/positions.py`.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """Every frequency is divided by `factor`: positions lie closer together (Chen et al. 2023)."""

    factor: float


@dataclass(frozen=True)
class Yarn:
    """Slow frequencies are divided by `factor`, fast ones stay, between them is a ramp (Peng et al. 2023)."""

    factor: float
    original: int  # tokens the model was trained on
    magnitude: float  # of cosines and sines
    fast: float = 32.0  # turns over `original` tokens from which on a frequency stays
    slow: float = 1.0  # and up to which it is divided by all of `factor`
    whole: bool = True  # whether the ramp begins and ends at whole dimensions


@dataclass(frozen=True)
class Llama3:
    """As Yarn, with a ramp over wave lengths and cosines and sines as they are (Llama 3.1)."""

    factor: float
    low: float  # turns over `original` tokens up to which a frequency is divided by all of `factor`
    high: float  # and from which on it stays
    original: int  # tokens


@dataclass(frozen=True)
class Divided:
    """Each frequency is divided by a number of its own: what a GGUF file says of a Llama 3."""

    by: tuple[float, ...]  # of each pair, head_dim / 2


Scaling = Linear | Yarn | Llama3 | Divided


def magnitude(factor: float, weight: float = 1.0) -> float:
    """Of cosines and sines, so that attention stays as sharp over `factor` times the tokens (YaRN, 3.4)."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0
