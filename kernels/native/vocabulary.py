"""Reading logits over a vocabulary in C (vocabulary.c)."""

import ctypes
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ringroad.kernels.native.library import address, library


def reads(logits: Tensor) -> bool:
    """Whether the C functions take these logits or scores: a CPU's, bf16 or fp32."""
    return (
        library() is not None
        and logits.device.type == "cpu"
        and logits.dtype in (torch.bfloat16, torch.float32)
    )


def survey(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `sampling.survey`, of logits [rows, vocabulary] bf16."""
    found = library()
    assert found is not None
    logits = logits.contiguous()  # held by its name: C gets an address only
    rows, count = logits.shape
    ids = torch.zeros(rows, k, dtype=torch.int64)  # what stays where nothing compares: a row of NaN
    scores, log_sum, entropy = torch.full((rows, k), -math.inf), torch.empty(rows), torch.empty(rows)
    outputs = (address(ids), address(scores), address(log_sum), address(entropy))
    found.survey(address(logits), rows, count, k, *outputs, torch.get_num_threads())
    return ids, scores, log_sum, entropy


NEAR = 7  # tokens behind the k best that an estimate good to the last bit may have put there wrongly


def noisy_best(scores: Tensor, k: int, seed: int, position: int, stream: int) -> tuple[Tensor, np.ndarray]:
    """Ids and noise words of the k best of scores [vocabulary] fp32 plus noise, best first, and of those
    as near as rounding behind them: [at most k + NEAR].

    The order is that of noise estimated here: exact but for the last bit of a logarithm.
    """
    found = library()
    assert found is not None
    ids, totals = torch.empty(k + NEAR, dtype=torch.int64), torch.empty(k + NEAR)
    words = np.empty(k + NEAR, np.uint32)
    scores = scores.contiguous()
    key = (ctypes.c_uint64(seed), ctypes.c_uint64(stream), ctypes.c_uint64(position))
    count = found.noisy_best(
        address(scores), len(scores), k, NEAR, *key, address(ids), words.ctypes.data, address(totals)
    )
    return ids[:count], words[:count]


def noisy_rows(
    logits: Tensor,
    rows: Sequence[int],
    counts: Sequence[int],
    temperatures: Sequence[float],
    seeds: Sequence[int],
    positions: Sequence[int],
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """For each of `rows` of logits [any, vocabulary] bf16 what `noisy_best` finds of its scores, which are
    (logit - the largest) / temperature in fp32: ids, words, and the largest. Stream 0; all threads read.
    """
    found = library()
    assert found is not None
    logits = logits.contiguous()
    room = max(counts) + NEAR
    wanted = (np.array(rows, np.int64), np.array(counts, np.int64), np.array(temperatures, np.float32))
    keys = np.array(seeds, np.uint64), np.array(positions, np.uint64)
    ids, words = np.empty((len(rows), room), np.int64), np.empty((len(rows), room), np.uint32)
    totals, tops = np.empty((len(rows), room), np.float32), np.empty(len(rows), np.float32)
    sizes = np.empty(len(rows), np.int64)
    arrays = (*wanted, *keys, ids, words, totals, sizes, tops)
    pointers = (each.ctypes.data for each in arrays)
    numbers = logits.shape[1], len(rows), NEAR, room
    found.noisy_rows(address(logits), *numbers, *pointers, torch.get_num_threads())
    for i, size in enumerate(sizes.tolist()):
        yield ids[i, :size], words[i, :size], float(tops[i])
