"""A watermark in the noise: who has its key can tell that a text was drawn with it.

The exponential-minimum one of Kuditipudi et al. (Robust Distortion-free Watermarks for Language Models,
2024): argmax of log p + Gumbel noise is the argmin of an exponential race, so the noise of docs/noise.md
under a key in place of the seed is that scheme. Each token is still drawn from the model's distribution. The
seed says only where in the key's noise a text begins.
"""

from collections.abc import Sequence

import torch

from ringroad.kernels.noise import gumbel

PERIOD = 1024  # positions of a key's noise: so many texts of a prompt there are, and beginnings to try


def place(seed: int, position: int) -> int:
    """The position in a key's noise of the token at a position of the text of a seed."""
    return (seed + position) % PERIOD


def p_value(tokens: Sequence[int], key: int, vocabulary: int) -> float:
    """How likely tokens that know nothing of the key look so much as if they were drawn with it.

    tokens: a run of a text, each less than `vocabulary`. Of every beginning in the key's noise the sum of
    -ln(1 - u) over the tokens' uniforms u is of a Gamma(n, 1) law for such tokens; the best beginning counts,
    its probability times PERIOD (Bonferroni). A token that comes again a period later counts once.
    """
    places = list(dict.fromkeys((at % PERIOD, token) for at, token in enumerate(tokens)))
    if not places:
        return 1.0
    at, token = (torch.tensor(column) for column in zip(*places, strict=True))
    noise = torch.stack([gumbel(key, position, vocabulary)[token] for position in range(PERIOD)]).double()
    # 1 - u, exactly also where u = exp(-exp(-g)) nears 1.
    costs = -torch.log(-torch.expm1(-torch.exp(-noise)))  # [PERIOD, tokens]
    rows = (torch.arange(PERIOD).unsqueeze(1) + at) % PERIOD
    sums = costs.gather(0, rows).sum(1)
    count = torch.tensor(float(len(places)), dtype=torch.float64)
    return min(1.0, PERIOD * float(torch.special.gammaincc(count, sums).min()))
