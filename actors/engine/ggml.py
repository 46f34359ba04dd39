"""Reads ggml's common quantised blocks with torch; kinds not listed here go through the gguf package.

The package's numpy versions of these take a minute for the demonstration pair, these take seconds,
and give the same fp32 numbers (they are the oracle of the test). Layouts: ggml's block structures.
"""

from collections.abc import Callable

import gguf
import torch
from torch import Tensor

from ringroad.kernels.codes import Codes, Nested, of_nested

Kind = gguf.GGMLQuantizationType


def dequantise(blocks: Tensor, kind: int) -> Tensor:
    """Blocks [count, bytes] uint8 of a ggml storage kind as weights [count * weights a block] fp32."""
    codes = read(blocks, kind)
    if codes is None:
        return torch.from_numpy(gguf.quants.dequantize(blocks.numpy(), Kind(kind))).reshape(-1)
    return codes.weight(torch.float32).reshape(-1)


def knows(kind: int) -> bool:
    """Whether blocks of a storage kind can be read as codes."""
    return kind in _READERS


def read(blocks: Tensor, kind: int) -> Codes | None:
    """What blocks [count, bytes] uint8 say, one in each row; None for a kind that is not listed here.

    A scale times a code has at most 23 significant bits, so a weight is rounded once.
    """
    reader = _READERS.get(kind)
    return None if reader is None else reader(blocks)


def _half(blocks: Tensor, at: int) -> Tensor:
    """The fp16 number at byte `at` of every block: [count, 1] fp32."""
    return _unit(blocks, at).float()


def _unit(blocks: Tensor, at: int) -> Tensor:
    """The fp16 number at byte `at` of every block: [count, 1] fp16."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16)


def _nibbles(packed: Tensor) -> Tensor:
    """Low halves of the bytes, then high halves: [..., n] -> [..., 2 n]."""
    return torch.cat([packed & 15, packed >> 4], -1)


def _q8_0(blocks: Tensor) -> Codes:
    return Codes(blocks[:, 2:].view(torch.int8), _half(blocks, 0))


def _q4_0(blocks: Tensor) -> Codes:
    return Codes(_nibbles(blocks[:, 2:]).view(torch.int8), _half(blocks, 0), 8 * _half(blocks, 0))


def _q4_1(blocks: Tensor) -> Codes:
    return Codes(_nibbles(blocks[:, 4:]).view(torch.int8), _half(blocks, 0), -_half(blocks, 2))


def _q5_0(blocks: Tensor) -> Codes:
    bits = blocks[:, 2:6].unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8) & 1
    codes = (_nibbles(blocks[:, 6:]) | bits.flatten(1) << 4).view(torch.int8) - 16
    return Codes(codes, _half(blocks, 0))


def _q4_k(blocks: Tensor) -> Codes:
    low, middle, high = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = torch.cat([low & 63, high & 15 | low >> 2 & 48], -1)  # [count, 8], six bits each
    minima = torch.cat([middle & 63, high >> 4 | middle >> 2 & 48], -1)
    codes = _nibbles(blocks[:, 16:].view(-1, 4, 32)).view(-1, 256)
    scale, minimum = (
        Nested(_unit(blocks, 0), scales.view(torch.int8)),
        Nested(_unit(blocks, 2), minima.view(torch.int8)),
    )
    return of_nested(codes.view(torch.int8), scale, minimum)


def _q6_k(blocks: Tensor) -> Codes:
    low = _nibbles(blocks[:, :128].view(-1, 2, 64)).view(-1, 8, 32)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8).view(4, 1)
    high = (blocks[:, 128:192].view(-1, 2, 1, 32) >> shifts & 3).view(-1, 8, 32)
    codes = (low | high << 4).view(torch.int8) - 32
    scales = blocks[:, 192:208].view(torch.int8)
    return of_nested(codes.view(-1, 256), Nested(_unit(blocks, 208), scales))


_READERS: dict[int, Callable[[Tensor], Codes]] = {
    Kind.Q4_0: _q4_0,
    Kind.Q4_1: _q4_1,
    Kind.Q5_0: _q5_0,
    Kind.Q8_0: _q8_0,
    Kind.Q4_K: _q4_k,
    Kind.Q6_K: _q6_k,
}
