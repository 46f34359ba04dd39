"""The kernels in plain torch: one session, one row at a time, nothing clever."""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from ringroad.kernels.noise import gumbel
from ringroad.kernels.sampling import truncate
from ringroad.kernels.triton.batch import WORD, Draws, Guesses, Step, Verdicts


def attend(query: Tensor, keys: Tensor, values: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """Softmax attention of new tokens over a paged cache, grouped heads, a tree among the new ones.

    query [rows, heads, dim]; keys, values [blocks, kv_heads, places, dim], all of one dtype. Returns what
    `merge` merges, in fp32: out [rows, heads, dim] and log-sum-exp [rows, heads] of the scaled scores.
    """
    out = torch.zeros(query.shape, dtype=torch.float32, device=query.device)
    lse = torch.full(query.shape[:2], -math.inf, device=query.device)
    for session, rows in enumerate(_spans(step.first)):
        length = int(step.cached[session]) + rows.stop - rows.start
        blocks = step.table[session, : -(-length // keys.shape[2])].long()
        k, v = (cache[blocks].transpose(0, 1).flatten(1, 2)[:, :length].float() for cache in (keys, values))
        q = query[rows].float().reshape(rows.stop - rows.start, len(k), -1, query.shape[2])
        scores = torch.einsum("rkgd,kpd->rkgp", q, k) / math.sqrt(query.shape[2])
        hidden = ~_visible(step.seen[rows], int(step.cached[session]))
        scores = scores.masked_fill(hidden[:, None, None, :], -math.inf)
        out[rows] = torch.einsum("rkgp,kpd->rkgd", scores.softmax(-1), v).flatten(1, 2)
        lse[rows] = scores.logsumexp(-1).flatten(1, 2)
    return out, lse


def _visible(seen: Tensor, cached: int) -> Tensor:
    """Which places the rows of one session see: [rows, cached + rows] bool."""
    new = torch.arange(len(seen), device=seen.device)
    among = (seen[:, new // WORD] >> new % WORD & 1).bool()
    return torch.cat([among.new_ones(len(seen), cached), among], 1)


def merge(outs: Tensor, lses: Tensor) -> tuple[Tensor, Tensor]:
    """One attention from those over parts of the keys (Milakov & Gimelshein 2018, section 3.1).

    outs [parts, rows, heads, dim] fp32, lses [parts, rows, heads] fp32; a part of no keys has -inf,
    and its out is not read. Returns out [rows, heads, dim] and lse [rows, heads].
    """
    lse = lses.logsumexp(0)
    weights = (lses - lse.masked_fill(lse == -math.inf, 0.0)).exp().unsqueeze(-1)
    return (weights * outs.masked_fill(weights == 0, 0.0)).sum(0), lse


def verdicts(logits: Tensor, draws: Draws, guesses: Guesses) -> Verdicts:
    """Draws the token after each row of logits [rows, vocabulary], any float dtype, and walks down each
    session's guesses as long as they are what was drawn (coupled sampling: verification is equality)."""
    drawn = [_draw(row, draws, i) for i, row in enumerate(logits)]
    paths, tokens = [], []
    for rows in _spans(guesses.first):
        row, path = rows.start, []
        while (child := _child(guesses, rows, row, drawn[row])) is not None:
            row = child
            path.append(row - rows.start - 1)
        paths.append(path)
        tokens.append(drawn[row])
    padded = [path + [-1] * (guesses.most_rows - 1 - len(path)) for path in paths]

    def ints(numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int32, device=logits.device)

    kept = ints([len(path) for path in paths])
    return Verdicts(ints(drawn), kept, torch.stack([ints(path) for path in padded]), ints(tokens))


def scaled(logits: Tensor, temperature: float) -> Tensor:
    """(logits - the largest) / temperature, in fp32 as docs/noise.md says: [vocabulary]."""
    wide = logits.float()
    return (wide - wide.max()) / temperature


def floor(
    logits: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> Tensor:
    """`Draws.floors` for logits [vocabulary] at a temperature above 0, so that `truncate` is kept to: []."""
    left = truncate(scaled(logits, temperature), top_k, top_p, min_p)
    return left.masked_fill(left == -math.inf, math.inf).min()


def _draw(logits: Tensor, draws: Draws, row: int) -> int:
    temperature = float(draws.temperatures[row])
    if temperature == 0.0:
        return _first(logits)
    scores = scaled(logits, temperature)
    scores = scores.masked_fill(scores < draws.floors[row], -math.inf)
    seed, stream = (int(key[row].item()) for key in (draws.seeds, draws.streams))
    noise = gumbel(seed, int(draws.positions[row]), len(logits), stream)
    return _first(scores + noise.to(logits.device))


def _first(scores: Tensor) -> int:
    return int((scores == scores.max()).int().argmax())  # of equals the lowest id


def _child(guesses: Guesses, rows: slice, row: int, token: int) -> int | None:
    """The first row that guesses `token` after `row`."""
    for child in range(row + 1, rows.stop):
        if int(guesses.parents[child]) == row - rows.start and int(guesses.tokens[child]) == token:
            return child
    return None


def _spans(first: Tensor) -> Iterator[slice]:
    return (slice(start, stop) for start, stop in pairwise(first.tolist()))
