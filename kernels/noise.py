"""The noise every sampler of a session shares: a pure function of seed, position and token.

Specified in docs/noise.md so that another implementation gives the same numbers. Counter-based
(Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011), so that any replica can draw
the noise of any position without having drawn the ones before.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ringroad.kernels import native

SLACK = 1e-3  # far above the error of the fp32 estimate below, far below the gaps between scores
TINY = 1 << 16  # words whose estimate loses its last digits


def gumbel(seed: int, position: int, vocabulary: int, stream: int = 0) -> Tensor:
    """Standard Gumbel noise for every token of the vocabulary at one position: [vocabulary] fp32.

    `seed` and `stream` are the two 64-bit key words (a stream apart for each of several texts from
    one seed), `position` the index in the session's text of the token being drawn.
    """
    return _from_words(_words(seed, position, vocabulary, stream))


def noisy_argmax(scores: Tensor, seed: int, position: int, stream: int = 0) -> int:
    """argmax of scores [vocabulary] fp32 + gumbel(...), the lowest id of equals."""
    ids, totals = noisy_best(scores, 1, seed, position, stream)
    return int(ids[(totals == totals.max())].min())


def noisy_best(
    scores: Tensor, count: int, seed: int, position: int, stream: int = 0
) -> tuple[Tensor, Tensor]:
    """Ids and sums of at least the `count` best of scores [vocabulary] fp32 + gumbel(...): both [some].

    Finds the few tokens that can be among them from an estimate of the noise, then gives only those
    their exact noise: the same answer for a fraction of the time. All equals of the best are there.
    """
    if native.reads(scores):
        ids, words = native.noisy_best(scores, min(count, len(scores)), seed, position, stream)
        return ids, scores[ids] + _from_words(words)
    few, words = _contenders(scores, count, _words(seed, position, len(scores), stream))
    return few, scores.cpu()[few] + _from_words(words)


@dataclass(frozen=True)
class Row:
    """Which row of logits is drawn from, how many are wanted, at which temperature, and with whose noise."""

    row: int
    count: int
    seed: int
    position: int
    temperature: float


def noisy_rows(logits: Tensor, draws: Sequence[Row]) -> Iterator[tuple[Tensor, Tensor]]:
    """For each draw what `noisy_best` finds of its row of logits [rows, vocabulary] bf16, as scores in fp32:
    (logits - their largest) / temperature. The C kernels must be able to read them."""
    rows, counts = [draw.row for draw in draws], [min(draw.count, logits.shape[1]) for draw in draws]
    temperatures, seeds = [draw.temperature for draw in draws], [draw.seed for draw in draws]
    positions = [draw.position for draw in draws]
    found = list(native.noisy_rows(logits, rows, counts, temperatures, seeds, positions))
    noise = _from_words(np.concatenate([words for _, words, _ in found]))
    each = torch.split(noise, [len(ids) for ids, _, _ in found])
    for draw, (ids, _, top), mine in zip(draws, found, each, strict=True):
        few = torch.from_numpy(ids)
        yield few, (logits[draw.row, few].float() - top) / draw.temperature + mine


def _contenders(scores: Tensor, count: int, words: np.ndarray) -> tuple[Tensor, np.ndarray]:
    scores = scores.cpu()
    rest = torch.from_numpy(~words).float().add_(0.5).mul_(-(2.0**-32))  # U - 1: exact where U nears 1
    estimate = rest.log1p_().neg_().log_().neg_().add_(scores)
    rough = torch.from_numpy(words < TINY)
    sure = estimate.masked_fill(rough, -math.inf)
    last = sure.max() if count == 1 else sure.topk(min(count, len(sure))).values[-1]
    near = estimate >= last - SLACK - last.abs() * 2.0**-21  # large scores round the noise away
    few = (near | rough).nonzero().squeeze(1)
    return few, words[few.numpy()]


def _words(seed: int, position: int, vocabulary: int, stream: int) -> np.ndarray:
    generator = np.random.Philox(
        key=np.array([seed, stream], dtype=np.uint64),
        counter=np.array([0, position, 0, 0], dtype=np.uint64),
    )
    pairs: np.ndarray = generator.random_raw((vocabulary + 1) // 2)
    return pairs.astype("<u8", copy=False).view("<u4")[:vocabulary]


def _from_words(words: np.ndarray) -> Tensor:
    # In double precision: fp32 logarithms differ between libraries in their last bits.
    uniform = torch.from_numpy(words).double().add_(0.5).mul_(2.0**-32)
    return uniform.log_().neg_().log_().neg_().float()
