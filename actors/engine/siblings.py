"""A node's next token and the likeliest others, for who drafts."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ringroad.actors.messages import Sampling
from ringroad.kernels.sampling import Survey, best

Siblings = list[tuple[int, float]]  # tokens, each with the chance that it is the one
SHARERS = 32  # tokens beyond those asked for that share the chances: the rest is taken for nothing


class Asked(NamedTuple):
    """Of one row of logits: how its token is drawn, at which place of the text, how many come with it."""

    sampling: Sampling
    position: int
    siblings: int  # 0: the token alone


def siblings(logits: Tensor, seen: Survey, asked: Sequence[Asked]) -> list[Siblings]:
    """For each row of logits [rows, vocabulary] the best of what the argmax at its position is taken over,
    the coupled token first. `seen` is the survey of these logits.

    With noise they are a sample without replacement (as children of Recursive Speculative Decoding,
    Jeon et al. 2024). Each comes with the chance that another model's argmax is there: both share the
    noise, and if their logits differ by standard Gumbel errors it is softmax(logits + temperature *
    noise), here over the best tokens alone; at temperature 0 the plain softmax.
    """
    return [_of(row, seen.rows(slice(i, i + 1)), asked[i]) for i, row in enumerate(logits)]


def _of(logits: Tensor, seen: Survey, asked: Asked) -> Siblings:
    sampling, count = asked.sampling, max(1, asked.siblings)
    if sampling.temperature == 0.0:
        ids, chances = seen.ids[0], seen.chances[0]
    else:
        ids, totals = best(
            logits,
            count if count == 1 else count + SHARERS,
            seed=sampling.seed,
            position=asked.position,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
        )
        chances = torch.softmax(sampling.temperature * totals[: count + SHARERS], 0)
    return list(zip(ids[:count].tolist(), chances[:count].tolist(), strict=True))
