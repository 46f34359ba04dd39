"""A node's next token and the likeliest others, for who drafts."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ringroad.actors.messages import Sampling
from ringroad.kernels.sampling import Draw, Survey, best_rows
from ringroad.kernels.watermark import place

Siblings = list[tuple[int, float]]  # tokens, each with the chance that it is the one
SHARERS = 32  # tokens beyond those asked for that share the chances: the rest is taken for nothing


class Asked(NamedTuple):
    """Of one row of logits: how its token is drawn, at which place of the text, how many come with it."""

    sampling: Sampling
    position: int
    siblings: int  # 0: the token alone

    @property
    def noise(self) -> tuple[int, int]:
        """The key of the noise, and the position in it."""
        seed, key = self.sampling.seed, self.sampling.watermark
        return (seed, self.position) if key is None else (key, place(seed, self.position))


def unread(rows: int) -> Survey:
    """The survey of rows that nobody asks about."""
    none = torch.empty(rows, 0)
    return Survey(none.long(), none, torch.empty(rows), torch.empty(rows))


def siblings(logits: Tensor, seen: Survey, asked: Sequence[Asked]) -> list[Siblings]:
    """For each row of logits [rows, vocabulary] the best of what the argmax at its position is taken over,
    the coupled token first. `seen` is the survey of these logits.

    With noise they are a sample without replacement (as children of Recursive Speculative Decoding,
    Jeon et al. 2024). Each comes with the chance that another model's argmax is there: both share the
    noise, and if their logits differ by standard Gumbel errors it is softmax(logits + temperature *
    noise), here over the best tokens alone; at temperature 0 the plain softmax.
    """
    warm = [row for row, each in enumerate(asked) if each.sampling.temperature > 0]
    drawn = dict(zip(warm, best_rows(logits, [_draw(row, asked[row]) for row in warm]), strict=True))
    return [
        _shared(*drawn[row], each) if row in drawn else _likeliest(seen.rows(slice(row, row + 1)), each)
        for row, each in enumerate(asked)
    ]


def _draw(row: int, asked: Asked) -> Draw:
    s, count = asked.sampling, asked.siblings
    wanted = 1 if count <= 1 else count + SHARERS
    return Draw(row, wanted, *asked.noise, s.temperature, s.top_k, s.top_p, s.min_p)


def _likeliest(seen: Survey, asked: Asked) -> Siblings:
    count = max(1, asked.siblings)
    return list(zip(seen.ids[0, :count].tolist(), seen.chances[0, :count].tolist(), strict=True))


def _shared(ids: Tensor, totals: Tensor, asked: Asked) -> Siblings:
    count = max(1, asked.siblings)
    chances = torch.softmax(asked.sampling.temperature * totals[: count + SHARERS], 0)
    return list(zip(ids[:count].tolist(), chances[:count].tolist(), strict=True))
