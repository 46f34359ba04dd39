"""What a request changes in logits before its token is drawn: a pure function of logits and the text so far.

The penalties are those of OpenAI (presence, frequency) and of CTRL (repetition: Keskar et al. 2019, section
4.1), over the tokens that vLLM applies each to.
"""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor


def shaped(
    logits: Tensor,
    *,
    bias: Mapping[int, float],
    repetition: float,
    presence: float,
    frequency: float,
    prompt: Collection[int],
    answer: Mapping[int, int],
    barred: Collection[int],
    allowed: Tensor | None = None,
) -> Tensor:
    """Logits [vocabulary] of any float dtype, changed: a new [vocabulary] in fp32.

    In this order: `bias` is added; a logit of `prompt` or `answer` is divided by `repetition` if above 0,
    else multiplied by it; from that of a token that stands n times in `answer`, `frequency` * n and then
    `presence` are taken; what is not `allowed` [ids] bool becomes -inf, and so does what is `barred`. Ids
    beyond the vocabulary are passed over. Of the last two each gives way where it would leave nothing.
    """
    scores = logits.float().clone()
    if bias:
        at, values = _columns(bias, scores)
        scores[at] += values
    if repetition != 1.0:
        at = _ids({*prompt, *answer}, scores)
        scores[at] = torch.where(scores[at] > 0, scores[at] / repetition, scores[at] * repetition)
    if answer and (frequency or presence):
        at, counts = _columns(answer, scores)
        scores[at] = scores[at] - frequency * counts - presence
    if allowed is not None:
        known = torch.zeros(len(scores), dtype=torch.bool)
        known[: len(allowed)] = allowed[: len(scores)]
        scores = _less(scores, ~known.to(scores.device))
    if barred:
        out = torch.zeros_like(scores, dtype=torch.bool)
        out[_ids(barred, scores)] = True
        scores = _less(scores, out)
    return scores


def _less(scores: Tensor, out: Tensor) -> Tensor:
    left = scores.masked_fill(out, -math.inf)
    return left if (left > -math.inf).any() else scores


def _ids(tokens: Collection[int], scores: Tensor) -> Tensor:
    known = [token for token in tokens if token < len(scores)]
    return torch.tensor(known, dtype=torch.long, device=scores.device)


def _columns(numbers: Mapping[int, float], scores: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens, and the number of each as fp32."""
    at = _ids(numbers, scores)
    values = [number for token, number in numbers.items() if token < len(scores)]
    return at, torch.tensor(values, dtype=torch.float32, device=scores.device)
