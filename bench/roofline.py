"""What a step must read, and how fast this machine can read at all."""

import ctypes
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from ringroad.actors.engine.model import Model
from ringroad.actors.engine.weights import Shape
from ringroad.kernels.linear import GROUP
from ringroad.kernels.native.linear import Packed

BITS = {"bf16": 16.0, "fp32": 32.0, "int4": 4 + 2 * 16 / GROUP}  # of a weight; int4 has a scale and a zero
ABSENT = 0xFF


class Bandwidth:
    """Reads memory from end to end, each thread its own part: libc's search for a byte that is not there.

    Nothing is written and hardly anything computed. Far more than any cache holds is read.
    """

    def __init__(self, threads: int, gigabytes: float = 1.0) -> None:
        size = int(gigabytes * 1e9) // threads
        self._parts = [np.ones(size, np.uint8) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)
        self._search = ctypes.CDLL(None).memchr
        self._search.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
        self._search.restype = ctypes.c_void_p

    def measure(self) -> float:
        """GB/s of one reading."""
        began = perf_counter()
        found = list(self._pool.map(self._read, self._parts))
        assert found == [None] * len(found)
        return sum(part.nbytes for part in self._parts) / (perf_counter() - began) / 1e9

    def _read(self, part: np.ndarray) -> object:
        return self._search(part.ctypes.data, ABSENT, part.nbytes)


def written_out_bytes(shape: Shape, weights: str) -> float:
    """All matrices but the embedding, the head among them, with every weight written out."""
    heads = (2 * shape.heads + 2 * shape.kv_heads) * shape.head_dim  # in q, k, v and out
    layer = shape.width * (heads + 3 * shape.ffn)
    return (shape.layers * layer + shape.vocabulary * shape.width) * BITS[weights] / 8


def weight_bytes(model: Model, weights: str) -> float:
    """What every step reads of the weights, once: less where they are kept as codes (docs/decisions/0013)."""
    layers = [model.head, *(part for at in model.layers for part in (at.qkv, at.out, at.gate_up, at.down))]
    packed = [layer.nbytes for layer in layers if isinstance(layer, Packed)]
    return sum(packed) if len(packed) == len(layers) else written_out_bytes(model.shape, weights)


def cache_bytes(shape: Shape, weights: str, places: int) -> float:
    """The keys and values of so many tokens, those of all sessions together."""
    item = 4 if weights == "fp32" else 2
    return places * 2 * shape.layers * shape.kv_heads * shape.head_dim * item
