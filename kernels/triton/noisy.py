"""All scores of a row with their noise, for who wants more than the best. Twin: `twins.noisy`."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ringroad.kernels.triton.batch import Draws
from ringroad.kernels.triton.options import OPTIONS
from ringroad.kernels.triton.verdicts import SLICE, SPAN, noisy_score, peaks_kernel, row_peak


@triton.jit
def noisy_kernel(
    logits: tl.tensor,
    peaks: tl.tensor,
    seeds: tl.tensor,
    streams: tl.tensor,
    positions: tl.tensor,
    temperatures: tl.tensor,
    floors: tl.tensor,
    out: tl.tensor,
    vocabulary: tl.tensor,
    row_stride: tl.tensor,
    SPANS: tl.constexpr,
    SPAN: tl.constexpr,
    SLICE: tl.constexpr,
) -> None:
    """out [rows, vocabulary] fp32: what `best_kernel` compares."""
    row, span = tl.program_id(0).to(tl.int64), tl.program_id(1)
    peak = row_peak(peaks, row, tl.num_programs(1), SPANS)
    temperature, floor = tl.load(temperatures + row), tl.load(floors + row)
    seed, stream, position = tl.load(seeds + row), tl.load(streams + row), tl.load(positions + row)
    for start in range(span * SPAN, (span + 1) * SPAN, SLICE):
        token = start + tl.arange(0, SLICE)
        real = token < vocabulary
        logit = tl.load(logits + row * row_stride + token, mask=real, other=float("-inf")).to(tl.float32)
        score = noisy_score(logit, peak, temperature, floor, start, seed, stream, position, SLICE)
        tl.store(out + row * vocabulary + token, score, mask=real)


def noisy(logits: Tensor, draws: Draws) -> Tensor:
    """As `twins.noisy`; logits contiguous in the vocabulary."""
    rows, vocabulary = logits.shape
    spans = triton.cdiv(vocabulary, SPAN)
    peaks = torch.empty((rows, spans), dtype=torch.float32, device=logits.device)
    out = torch.empty((rows, vocabulary), dtype=torch.float32, device=logits.device)
    peaks_kernel[(rows, spans)](logits, peaks, vocabulary, logits.stride(0), SPAN=SPAN, **OPTIONS)
    noisy_kernel[(rows, spans)](
        logits,
        peaks,
        draws.seeds,
        draws.streams,
        draws.positions,
        draws.temperatures,
        draws.floors,
        out,
        vocabulary,
        logits.stride(0),
        SPANS=triton.next_power_of_2(spans),
        SPAN=SPAN,
        SLICE=SLICE,
        **OPTIONS,
    )
    return out
