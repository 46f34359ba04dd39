"""Coupled sampling: an exact draw from a distribution that is a pure function of logits and noise.

Gumbel-max (Gumbel 1954; Maddison et al., A* Sampling, 2014): argmax of log p + Gumbel noise is a
sample from p. Two models given the same noise agree as often as their distributions allow, and a
verifier needs no draft probabilities to check a draft: it draws its own token and compares.
"""

import math

import torch

from ringroad.kernels.noise import noisy_argmax

CANDIDATES = 1024  # enough for nearly every nucleus; a wider one falls back to a full sort


def truncate(logits: torch.Tensor, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> torch.Tensor:
    """Removes (-inf) the tokens that top-k, then top-p, then min-p leave out: [vocabulary] fp32.

    Each works on what the one before has left, renormalised. All cut at a probability, so that
    tokens as likely as the last one kept stay too and the result does not depend on their order.
    """
    if 0 < top_k < logits.numel():
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
    if top_p < 1.0:
        logits = logits.masked_fill(logits < _nucleus_floor(logits, top_p), -math.inf)
    if min_p > 0.0:
        logits = logits.masked_fill(logits < logits.max() + math.log(min_p), -math.inf)
    return logits


def _nucleus_floor(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest logit of the smallest set of likeliest tokens whose mass reaches top_p."""
    total = logits.logsumexp(0)
    for count in (min(CANDIDATES, logits.numel()), logits.numel()):
        ranked = logits.topk(count).values
        reached = (ranked - total).exp().cumsum(0) >= top_p
        if reached.any():
            return ranked[reached.int().argmax()]
    return ranked[-1]  # rounding kept the whole vocabulary's mass below top_p


def draw(
    logits: torch.Tensor,
    *,
    seed: int,
    position: int,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> int:
    """The token at `position` of the session with this seed, from logits [vocabulary] of any float
    dtype. Temperature 0 takes the likeliest token; of equals the lowest id wins, everywhere."""
    if temperature == 0.0:
        return _first_argmax(logits)
    return noisy_argmax(_scaled(logits, temperature, top_k, top_p, min_p), seed, position)


def distribution(
    logits: torch.Tensor, *, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> torch.Tensor:
    """What `draw` draws from, over positions: [vocabulary] fp32. Temperature 0: all on its one token."""
    if temperature == 0.0:
        certain = torch.zeros_like(logits, dtype=torch.float32)
        certain[_first_argmax(logits)] = 1.0
        return certain
    return _scaled(logits, temperature, top_k, top_p, min_p).softmax(-1)


def _scaled(logits: torch.Tensor, temperature: float, top_k: int, top_p: float, min_p: float) -> torch.Tensor:
    """Logits over temperature, less what truncation leaves out: [vocabulary] fp32."""
    logits = logits.float()
    # The largest first: divided by a tiny temperature it would overflow.
    return truncate((logits - logits.max()) / temperature, top_k, top_p, min_p)


def _first_argmax(scores: torch.Tensor) -> int:
    # torch.argmax does not promise which of several equal maxima it names; bf16 logits do tie.
    return int((scores == scores.max()).int().argmax())


def features(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What token routers read of logits [rows, vocabulary]: (margin, entropy), each [rows] fp32.

    margin: probability of the likeliest token less that of the second, raw softmax. entropy: nats.
    """
    log_p = logits.float().log_softmax(-1)
    top = log_p.topk(2, dim=-1).values.exp()
    return top[:, 0] - top[:, 1], -(log_p.exp() * log_p).sum(-1)
