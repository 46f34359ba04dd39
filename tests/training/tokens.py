"""Tokens to learn from, made up: with a pattern or by chance."""

import torch

from ringroad.actors.messages import Features
from ringroad.cluster.training.fitting import Examples
from ringroad.kernels.head import TOPS, Sight

WIDTH = 24


def some(rows: int, seed: int = 0, pattern: bool = True) -> Examples:
    """Tokens of which about one in eight matters: those with a hidden state far to one side, where the second
    logit is near. Without a pattern, as many by chance."""
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, WIDTH, generator=draw) * torch.linspace(0.2, 3, WIDTH) + 2
    tops = (torch.randn(rows, TOPS, generator=draw) * 2 + 15).sort(descending=True).values
    tops[:, 0] += torch.rand(rows, generator=draw) * 3
    gap = tops[:, 0] - tops[:, 1]
    chance = torch.rand(rows, generator=draw)
    matters = (hidden[:, -1] > 2) & (gap < gap.quantile(0.25)) if pattern else chance < 0.125
    chances = torch.softmax(tops, 1)
    features = Features(
        (chances[:, 0] - chances[:, 1]).tolist(),
        (-(chances * chances.log()).sum(1)).tolist(),
        chances[:, 0].tolist(),
    )
    tokens = torch.randint(0, 10**5, (rows,), generator=draw)
    differs = matters | (gap < gap.quantile(0.3)) if pattern else matters
    return Examples(Sight(hidden.bfloat16(), tops, tokens), matters, differs, features)
