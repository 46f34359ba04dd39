"""What the C files offer, as ctypes sees it."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

BUILT = Path(__file__).with_name("native.so")  # by backend.py, when the project is installed
BLOCK = 64  # places of a block of keys and values
WIDEST_HEAD = 256
BF16, INT4, CODED4, CODED8, NESTED4, NESTED8 = range(6)  # enum Kind

_int = ctypes.c_int64
_pointer = ctypes.c_void_p


class Linear(ctypes.Structure):
    """As native.h has it."""

    _fields_ = (
        ("weights", _pointer),
        ("bias", _pointer),
        ("inputs", _int),
        ("outputs", _int),
        ("kind", _int),
        ("gated", _int),
    )


class Layer(ctypes.Structure):
    """As native.h has it."""

    _fields_ = (
        ("attention_norm", _pointer),
        ("query_norm", _pointer),
        ("key_norm", _pointer),
        ("ffn_norm", _pointer),
        ("qkv", Linear),
        ("out", Linear),
        ("gate_up", Linear),
        ("down", Linear),
    )


class Decoder(ctypes.Structure):
    """As native.h has it."""

    _fields_ = (
        ("width", _int),
        ("heads", _int),
        ("kv_heads", _int),
        ("head_dim", _int),
        ("eps", ctypes.c_float),
        ("cos", _pointer),
        ("sin", _pointer),
        ("final_norm", _pointer),
        ("layers", ctypes.POINTER(Layer)),
    )


class Block(ctypes.Structure):
    """As native.h has it."""

    _fields_ = (("norm", _pointer), ("up", Linear), ("down", Linear))


class Head(ctypes.Structure):
    """As native.h has it."""

    _fields_ = (
        ("width", _int),
        ("tops", _int),
        ("buckets", _int),
        ("narrow", _int),
        ("wide", _int),
        ("count", _int),
        ("eps", ctypes.c_float),
        ("tokens", _pointer),
        ("in_", Linear),
        ("blocks", ctypes.POINTER(Block)),
        ("norm", _pointer),
        ("out", Linear),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The C functions; None where they were not built, or this processor cannot run them."""
    if not BUILT.exists() or not torch.cpu._is_avx512_bf16_supported():
        return None
    found = ctypes.CDLL(str(BUILT))  # finds the OpenMP runtime that torch has loaded
    found.linear.argtypes = (
        ctypes.POINTER(Linear), *[_pointer] * 3, _int, ctypes.c_uint, ctypes.POINTER(Linear)
    )  # fmt: skip
    found.forward.argtypes = (
        ctypes.POINTER(Decoder), _int, _pointer, _pointer, _pointer, _int, ctypes.c_uint
    )  # fmt: skip
    found.survey.argtypes = (_pointer, *[_int] * 3, *[_pointer] * 4, ctypes.c_uint)
    found.survey.restype = None
    key = (ctypes.c_uint64,) * 3
    found.noisy_best.argtypes = (_pointer, _int, _int, _int, *key, _pointer, _pointer, _pointer)
    found.noisy_best.restype = _int
    found.noisy_rows.argtypes = (
        _pointer, *[_int] * 4, *[_pointer] * 10, ctypes.c_uint
    )  # fmt: skip
    found.noisy_rows.restype = None
    return found


@cache
def head_function() -> Any:
    """The learned router's, which a library built before it was there lacks: AttributeError."""
    found = library()
    assert found is not None
    found.doubts.argtypes = (ctypes.POINTER(Head), *[_pointer] * 4, _int, ctypes.c_uint)
    return found.doubts


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers lie; C's null for None."""
    return None if tensor is None else tensor.data_ptr()


def checked(code: int) -> None:
    """Raises MemoryError for a function that had no memory to work in."""
    if code:
        raise MemoryError("no memory for a step of the native decoder")
