"""Slow, obvious twins of the code: the oracle of all tests.

Plain integers, double precision, one loop per index. Nothing here is imported by the code, and
of it only the plain decoding at the end is made.
"""

import cmath
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.messages import Sampling, Shaping

WORD = 2**64

# --- noise: docs/noise.md -----------------------------------------------------------------------


def philox(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Philox4x64-10 of Salmon et al. (SC 2011), section 3.3 and its table of constants."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        left = 0xD2E7470EE14C6C93 * c0
        right = 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (right // WORD) ^ c1 ^ k0, right % WORD, (left // WORD) ^ c3 ^ k1, left % WORD
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) % WORD, (k1 + 0xBB67AE8584CAA73B) % WORD
    return c0, c1, c2, c3


def noise_word(seed: int, position: int, token: int, stream: int = 0) -> int:
    """The 32-bit word of one token: eight to a block, halves of 64-bit words, low half first."""
    block = philox((token // 8 + 1, position, 0, 0), (seed, stream))
    return block[token % 8 // 2] >> (32 * (token % 2)) & 0xFFFFFFFF


def noise(seed: int, position: int, token: int, stream: int = 0) -> float:
    """Standard Gumbel noise of one token, rounded to fp32."""
    uniform = (noise_word(seed, position, token, stream) + 0.5) * 2.0**-32
    return float(np.float32(-math.log(-math.log(uniform))))


# --- sampling -----------------------------------------------------------------------------------


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities; a score of -inf has none."""
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    return [weight / sum(weights) for weight in weights]


def left_by(scores: Sequence[float], top_k: int, top_p: float, min_p: float) -> tuple[set[int], float]:
    """The tokens that top-k, then top-p, then min-p leave, and how near to a cut the nearest miss was.

    Nearness is a difference of probabilities, or of cumulated ones: where it is below what fp32 can
    tell, either side is right.
    """
    left = set(range(len(scores)))
    nearest = math.inf
    if 0 < top_k < len(scores):
        last = sorted(scores, reverse=True)[top_k - 1]
        left = {i for i in left if scores[i] >= last}
    if top_p < 1.0:
        p = _renormalised(scores, left)
        mass, cut = 0.0, -math.inf
        for i in sorted(left, key=lambda i: -p[i]):
            mass += p[i]
            nearest = min(nearest, abs(mass - top_p))
            if mass >= top_p:
                cut = scores[i]
                break
        left = {i for i in left if scores[i] >= cut}
    if min_p > 0.0:
        p = _renormalised(scores, left)
        top = max(p.values())
        nearest = min([nearest, *(abs(p[i] / top / min_p - 1) for i in left)])
        left = {i for i in left if p[i] >= min_p * top}
    return left, nearest


def distribution(
    scores: Sequence[float], top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> list[float]:
    """What is drawn from after truncation."""
    left, _ = left_by(scores, top_k, top_p, min_p)
    return softmax([score if i in left else -math.inf for i, score in enumerate(scores)])


def draw(logits: Sequence[float], sampling: Sampling, position: int) -> int:
    """The token at a position: the likeliest, or the best after noise among those truncation leaves."""
    if sampling.temperature == 0.0:
        return max(range(len(logits)), key=lambda i: (logits[i], -i))
    scores = [logit / sampling.temperature for logit in logits]
    left, _ = left_by(scores, sampling.top_k, sampling.top_p, sampling.min_p)
    key = sampling.seed
    if sampling.watermark is not None:
        key, position = sampling.watermark, (sampling.seed + position) % 1024
    return max(left, key=lambda i: (scores[i] + noise(key, position, i), -i))


def _renormalised(scores: Sequence[float], left: Iterable[int]) -> dict[int, float]:
    left = sorted(left)
    return dict(zip(left, softmax([scores[i] for i in left]), strict=True))


def shaped(
    logits: Sequence[float], shaping: Shaping, text: Sequence[int], shut_out: Collection[int] = ()
) -> list[float]:
    """Logits as a request wants them after a text, token by token, every operation rounded to fp32.

    shut_out: tokens that a form does not allow here.
    """
    prompt, answer = list(text[: shaping.prompt]), list(text[shaping.prompt :])
    small, scores = np.float32, []
    for token, logit in enumerate(logits):
        score = small(logit)
        for biased, bias in shaping.bias:
            if biased == token:
                score = score + small(bias)
        if token in prompt or token in answer:
            rate = small(shaping.repetition)
            score = score / rate if score > 0 else score * rate
        times = answer.count(token)
        if times:
            score = score - small(shaping.frequency) * small(times) - small(shaping.presence)
        scores.append(float(score))
    for out in (shut_out, shaping.late if len(answer) < shaping.least else ()):
        left = [-math.inf if token in out else score for token, score in enumerate(scores)]
        scores = left if max(left) > -math.inf else scores
    return scores


# --- layers -------------------------------------------------------------------------------------


def ancestors(parents: Sequence[int], node: int) -> list[int]:
    """A node and what leads to it, root first."""
    return [] if node < 0 else [*ancestors(parents, parents[node]), node]


def attention(query: Tensor, keys: Tensor, values: Tensor, seen: Sequence[Sequence[int]]) -> Tensor:
    """query [count, heads, dim], keys and values [kv_heads, places, dim]; seen[i]: places token i looks at.

    Returns [count, heads * dim] fp64.
    """
    count, heads, dim = query.shape
    out = torch.zeros(count, heads, dim, dtype=torch.float64)
    for token in range(count):
        places = list(seen[token])
        for head in range(heads):
            shared = head // (heads // len(keys))
            k, v = keys[shared, places].double(), values[shared, places].double()
            scores = k @ query[token, head].double() / math.sqrt(dim)
            out[token, head] = torch.exp(scores - scores.max()) @ v / torch.exp(scores - scores.max()).sum()
    return out.view(count, heads * dim)


def rms_norm(row: Sequence[float], weight: Sequence[float], eps: float) -> list[float]:
    """One row over its root mean square."""
    root = math.sqrt(sum(x * x for x in row) / len(row) + eps)
    return [x / root * w for x, w in zip(row, weight, strict=True)]


def rotated(head: Sequence[float], position: int, theta: float) -> list[float]:
    """One head turned by its position: entries i and i + dim/2 are a complex number."""
    half = len(head) // 2
    turned = [
        complex(head[i], head[i + half]) * cmath.exp(1j * position * theta ** (-2 * i / len(head)))
        for i in range(half)
    ]
    return [z.real for z in turned] + [z.imag for z in turned]


def gated(gate: float, up: float) -> float:
    """silu(gate) * up"""
    return gate / (1 + math.exp(-gate)) * up


# --- decoding -----------------------------------------------------------------------------------


def plain_text(
    model: Model, prompt: Sequence[int], sampling: Sampling, max_tokens: int, ends: Iterable[int] = ()
) -> list[int]:
    """Plain autoregressive decoding: a fresh engine reads the whole text anew for every token."""
    text = list(prompt)
    while len(text) < len(prompt) + max_tokens:
        text.append(plain_token(model, text, sampling).token)
        if text[-1] in set(ends):
            break
    return text[len(prompt) :]


@dataclass(frozen=True)
class Said:
    """A model's next token, and how sure it was."""

    token: int
    margin: float
    entropy: float
    top: float


def plain_token(model: Model, text: Sequence[int], sampling: Sampling) -> Said:
    """The token after a text that a fresh engine reads from its start."""
    if sampling.shaping is not None or sampling.watermark is not None:
        scores = shaped(plain_logits(model, text), sampling.shaping or Shaping(0), text)
        p = sorted(softmax(scores), reverse=True)
        entropy = -sum(q * math.log(q) for q in p if q > 0)
        return Said(draw(scores, sampling, len(text)), p[0] - p[1], entropy, p[0])
    engine = Engine(model)
    engine.open("plain", sampling)
    outcome = engine.step([Work("plain", text, features=True)])[0]
    seen = outcome.features
    assert seen is not None
    return Said(outcome.tokens[0], seen.margin[0], seen.entropy[0], seen.top[0])


def plain_logits(model: Model, text: Sequence[int]) -> list[float]:
    """What a fresh engine's model says after a text: [vocabulary]."""
    engine = Engine(model)
    engine.open("plain", Sampling())
    with torch.inference_mode():
        hidden = engine._pass([Work("plain", text)]).hidden
        return [float(logit) for logit in model.logits(hidden[-1:], None)[0]]


def longest_agreement(
    outcomes: Sequence[int], guesses: Sequence[int], parents: Sequence[int]
) -> tuple[list[int], int]:
    """Tree acceptance by brute force: of all paths from the root on which every guess is what the
    large model said after the one before, the longest (of equals, the one with the lowest indices)."""
    agreed: list[list[int]] = [[]]
    for node in range(len(guesses)):
        path = ancestors(parents, node)
        before = [-1, *path[:-1]]
        if all(guesses[n] == outcomes[b + 1] for b, n in zip(before, path, strict=True)):
            agreed.append(path)
    best = min(agreed, key=lambda path: (-len(path), path))
    return best, outcomes[(best[-1] if best else -1) + 1]


# --- drafts and rules with probabilities ----------------------------------------------------------


def ordered_draws(q: Sequence[float], count: int, replaced: bool) -> dict[tuple[int, ...], float]:
    """The probability of every sequence of `count` draws from q; without replacement of as many as
    there are."""
    if count == 0 or sum(q) == 0:
        return {(): 1.0}
    found: dict[tuple[int, ...], float] = {}
    for token, weight in enumerate(q):
        if weight > 0:
            rest = [0.0 if i == token and not replaced else w for i, w in enumerate(q)]
            for after, probability in ordered_draws(rest, count - 1, replaced).items():
                found[(token, *after)] = weight / sum(q) * probability
    return found


def judged(siblings: Sequence[int], accept: Sequence[float], recovered: Sequence[float]) -> list[float]:
    """The distribution of the token that comes of siblings judged one after another."""
    law, none_yet = [0.0] * len(recovered), 1.0
    for token, probability in zip(siblings, accept, strict=True):
        law[token] += none_yet * probability
        none_yet *= 1 - probability
    return [so_far + none_yet * r for so_far, r in zip(law, recovered, strict=True)]
