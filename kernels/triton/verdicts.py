"""Coupled sampling and verification, fused over the vocabulary. Twin: `twins.verdicts`.

Three launches: the largest logit of each SPAN of a row; the best of its scores with noise; then, a
program a session, the best of all spans and the walk down the guesses. Only tokens leave.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ringroad.kernels.triton.batch import Draws, Guesses, Verdicts
from ringroad.kernels.triton.noise import gumbel
from ringroad.kernels.triton.options import OPTIONS

SPAN = 4096  # tokens of a program
SLICE = 1024  # of them at a time: one Philox block for each of 128 threads
NOBODY = tl.constexpr(0x7FFFFFFF)


@triton.jit
def peaks_kernel(
    logits: tl.tensor, peaks: tl.tensor, vocabulary: tl.tensor, row_stride: tl.tensor, SPAN: tl.constexpr
) -> None:
    """The largest of each span of logits [rows, vocabulary]: peaks [rows, spans] fp32."""
    row, span = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token = span * SPAN + tl.arange(0, SPAN)
    line = tl.load(logits + row * row_stride + token, mask=token < vocabulary, other=float("-inf"))
    tl.store(peaks + row * tl.num_programs(1) + span, tl.max(line.to(tl.float32), 0))


@triton.jit
def row_peak(peaks: tl.tensor, row: tl.tensor, spans: tl.tensor, SPANS: tl.constexpr) -> tl.tensor:
    """The largest logit of a row."""
    span = tl.arange(0, SPANS)
    return tl.max(tl.load(peaks + row * spans + span, mask=span < spans, other=float("-inf")), 0)


@triton.jit
def noisy_score(
    logit: tl.tensor,
    peak: tl.tensor,
    temperature: tl.tensor,
    floor: tl.tensor,
    start: tl.tensor,
    seed: tl.tensor,
    stream: tl.tensor,
    position: tl.tensor,
    SIZE: tl.constexpr,
) -> tl.tensor:
    """log p + g of the SIZE tokens from `start` on, -inf below the floor; at temperature 0 the logits."""
    score = logit
    if temperature > 0:
        score = tl.div_rn(logit - peak, temperature)
        noisy = score + gumbel(start, seed, stream, position, SIZE)
        score = tl.where(score >= floor, noisy, float("-inf"))
    return score


@triton.jit
def best_kernel(
    logits: tl.tensor,
    peaks: tl.tensor,
    seeds: tl.tensor,
    streams: tl.tensor,
    positions: tl.tensor,
    temperatures: tl.tensor,
    floors: tl.tensor,
    scores: tl.tensor,
    tokens: tl.tensor,
    vocabulary: tl.tensor,
    row_stride: tl.tensor,
    SPANS: tl.constexpr,
    SPAN: tl.constexpr,
    SLICE: tl.constexpr,
) -> None:
    """The largest log p + g of each span and its token, the lowest of equals: [rows, spans] fp32, int32."""
    row, span = tl.program_id(0).to(tl.int64), tl.program_id(1)
    spans = tl.num_programs(1)
    peak = row_peak(peaks, row, spans, SPANS)
    temperature = tl.load(temperatures + row)
    floor = tl.load(floors + row)
    seed, stream, position = tl.load(seeds + row), tl.load(streams + row), tl.load(positions + row)

    best = tl.full((SLICE,), float("-inf"), tl.float32)
    who = tl.full((SLICE,), NOBODY, tl.int32)
    for start in range(span * SPAN, (span + 1) * SPAN, SLICE):
        token = start + tl.arange(0, SLICE)
        real = token < vocabulary
        logit = tl.load(logits + row * row_stride + token, mask=real, other=float("-inf")).to(tl.float32)
        score = noisy_score(logit, peak, temperature, floor, start, seed, stream, position, SLICE)
        better = score > best
        best = tl.where(better, score, best)
        who = tl.where(better, token, who)
    top = tl.max(best, 0)
    tl.store(scores + row * spans + span, top)
    tl.store(tokens + row * spans + span, tl.min(tl.where(best == top, who, NOBODY), 0))


@triton.jit
def _next(
    here: tl.tensor,
    node: tl.tensor,
    said: tl.tensor,
    guess: tl.tensor,
    parent: tl.tensor,
    ROWS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """What was drawn after row `here`, and the first child of it that guessed so; ROWS where none has."""
    answer = tl.sum(tl.where(node == here, said, 0), 0)
    return answer, tl.min(tl.where((parent == here) & (guess == answer), node, ROWS), 0)


@triton.jit(do_not_specialize=["spans", "path_stride"])
def walk_kernel(
    scores: tl.tensor,
    tokens: tl.tensor,
    first: tl.tensor,
    guesses: tl.tensor,
    parents: tl.tensor,
    drawn: tl.tensor,
    kept: tl.tensor,
    paths: tl.tensor,
    answers: tl.tensor,
    spans: tl.tensor,
    path_stride: tl.tensor,
    ROWS: tl.constexpr,
    SPANS: tl.constexpr,
) -> None:
    """One session: the token after each row, and the path of guesses that are what was drawn before them."""
    session = tl.program_id(0)
    start = tl.load(first + session)
    node = tl.arange(0, ROWS)
    real = node < tl.load(first + session + 1) - start
    span = tl.arange(0, SPANS)[None, :]
    at = (start + node)[:, None] * spans + span
    there = real[:, None] & (span < spans)
    score = tl.load(scores + at, mask=there, other=float("-inf"))
    best = tl.max(score, 1)[:, None]
    said = tl.min(tl.where(score == best, tl.load(tokens + at, mask=there, other=NOBODY), NOBODY), 1)
    tl.store(drawn + start + node, said, mask=real)

    guess = tl.load(guesses + start + node, mask=real, other=-1)
    parent = tl.load(parents + start + node, mask=real, other=-1)
    depth = 0
    answer, child = _next(0, node, said, guess, parent, ROWS)
    while child < ROWS:
        tl.store(paths + session * path_stride + depth, child - 1)
        depth += 1
        answer, child = _next(child, node, said, guess, parent, ROWS)
    tl.store(kept + session, depth)
    tl.store(answers + session, answer)


def verdicts(logits: Tensor, draws: Draws, guesses: Guesses) -> Verdicts:
    """As `twins.verdicts`; logits contiguous in the vocabulary."""
    rows, vocabulary = logits.shape
    sessions = len(guesses.first) - 1
    spans = triton.cdiv(vocabulary, SPAN)
    padded = triton.next_power_of_2(spans)
    peaks = torch.empty((rows, spans), dtype=torch.float32, device=logits.device)
    scores = torch.empty_like(peaks)
    tokens = torch.empty_like(peaks, dtype=torch.int32)
    peaks_kernel[(rows, spans)](logits, peaks, vocabulary, logits.stride(0), SPAN=SPAN, **OPTIONS)
    best_kernel[(rows, spans)](
        logits,
        peaks,
        draws.seeds,
        draws.streams,
        draws.positions,
        draws.temperatures,
        draws.floors,
        scores,
        tokens,
        vocabulary,
        logits.stride(0),
        SPANS=padded,
        SPAN=SPAN,
        SLICE=SLICE,
        **OPTIONS,
    )
    found = Verdicts(
        drawn=tokens.new_empty(rows),
        kept=tokens.new_empty(sessions),
        paths=tokens.new_full((sessions, guesses.most_rows - 1), -1),
        tokens=tokens.new_empty(sessions),
    )
    walk_kernel[(sessions,)](
        scores,
        tokens,
        guesses.first,
        guesses.tokens,
        guesses.parents,
        *found,
        spans,
        guesses.most_rows - 1,
        ROWS=triton.next_power_of_2(guesses.most_rows),
        SPANS=padded,
        **OPTIONS,
    )
    return found
