"""The kernels in plain torch: one session, one row at a time, nothing clever."""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from ringroad.kernels.layers import rms_norm, rotate
from ringroad.kernels.noise import gumbel
from ringroad.kernels.ring import merge as partials
from ringroad.kernels.sampling import truncate
from ringroad.kernels.triton.batch import WORD, Draws, Guesses, Step, Turn, Verdicts


def attend(query: Tensor, keys: Tensor, values: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """Softmax attention of new tokens over a paged cache, grouped heads, a tree among the new ones.

    query [rows, heads, dim]; keys, values [blocks, kv_heads, places, dim], all of one dtype. Returns what
    `merge` merges, in fp32: out [rows, heads, dim] and log-sum-exp [rows, heads] of the scaled scores; 0 and
    -inf for a row that sees nothing.
    """
    out = torch.zeros(query.shape, dtype=torch.float32, device=query.device)
    lse = torch.full(query.shape[:2], -math.inf, device=query.device)
    for session, rows in enumerate(_spans(step.first)):
        cached, new = int(step.cached[session]), int(step.new[session])
        blocks = step.table[session, : -(-(cached + new) // keys.shape[2])].long()
        k, v = (cache[blocks].transpose(0, 1).flatten(1, 2).float() for cache in (keys, values))
        for row in range(rows.start, rows.stop):
            # What a row does not see is left out, not masked: so that its sums are its own.
            places = torch.cat([torch.arange(cached), cached + _new(step.seen[row], new)]).to(k.device)
            q = query[row].float().view(len(k), -1, query.shape[2])
            scores = q @ k[:, places].transpose(1, 2) / math.sqrt(query.shape[2])
            out[row] = (scores.softmax(-1) @ v[:, places]).flatten(0, 1)
            lse[row] = scores.logsumexp(-1).flatten()
    return out, lse


def _new(seen: Tensor, count: int) -> Tensor:
    """Which of a session's new places a row sees, by its words of bits [words]."""
    new = torch.arange(count)
    return new[(seen.cpu()[new // WORD] >> new % WORD & 1).bool()]


def add_norm(stream: Tensor, added: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    """Adds to the residual stream [rows, width] in place; returns its `rms_norm` with weight [width] fp32."""
    if added is not None:
        stream += added
    return rms_norm(stream, weight, eps)


def place(heads: Tensor, keys: Tensor, values: Tensor, turn: Turn) -> Tensor:
    """Takes a projection's heads [rows, query + key + value heads, dim] apart: norms and turns queries and
    keys, writes keys and values to their slots of keys, values [blocks, kv_heads, places, dim].

    Returns the queries [rows, heads, dim].
    """
    kv_heads, places = keys.shape[1:3]
    query, key, value = torch.split(heads, [heads.shape[1] - 2 * kv_heads, kv_heads, kv_heads], 1)
    if turn.norms is not None:
        query, key = (rms_norm(h, w, turn.eps) for h, w in zip((query, key), turn.norms, strict=True))
    cos, sin = turn.cos[turn.positions], turn.sin[turn.positions]
    query, key = rotate(query, cos, sin), rotate(key, cos, sin)
    for row, slot in enumerate(turn.slots.tolist()):
        if slot >= 0:
            keys[slot // places, :, slot % places] = key[row]
            values[slot // places, :, slot % places] = value[row]
    return query


def merge(outs: Tensor, lses: Tensor) -> tuple[Tensor, Tensor]:
    """One attention from those over parts of the keys (Milakov & Gimelshein 2018, section 3.1).

    outs [parts, rows, heads, dim] fp32, lses [parts, rows, heads] fp32; a part of no keys has -inf,
    and its out is not read. Returns out [rows, heads, dim] and lse [rows, heads].
    """
    merged = partials.merge([partials.Partial(out, lse) for out, lse in zip(outs, lses, strict=True)])
    return merged.out, merged.lse


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


def noisy(logits: Tensor, draws: Draws) -> Tensor:
    """What the token after each row of logits [rows, vocabulary] is the best of, the lowest id of equals:
    scaled logits and noise, -inf for what truncation leaves out; at temperature 0 the logits. fp32."""
    return torch.stack([_noisy(row, draws, i) for i, row in enumerate(logits)])


def _draw(logits: Tensor, draws: Draws, row: int) -> int:
    return _first(_noisy(logits, draws, row))


def _noisy(logits: Tensor, draws: Draws, row: int) -> Tensor:
    temperature = float(draws.temperatures[row])
    if temperature == 0.0:
        return logits.float()
    scores = scaled(logits, temperature)
    scores = scores.masked_fill(scores < draws.floors[row], -math.inf)
    seed, stream = (int(key[row].item()) for key in (draws.seeds, draws.streams))
    noise = gumbel(seed, int(draws.positions[row]), len(logits), stream)
    return scores + noise.to(logits.device)


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
