"""A node's likeliest next tokens, for who drafts: guesses, so approximate where it saves time."""

import torch
from torch import Tensor

from ringroad.actors.messages import Sampling
from ringroad.kernels.noise import gumbel
from ringroad.kernels.sampling import truncate

Siblings = list[tuple[int, float]]  # tokens, each with the chance that it is the one


def siblings(logits: Tensor, sampling: Sampling, position: int, token: int, count: int) -> Siblings:
    """The `count` best of what the argmax at `position` is taken over, the coupled `token` first.

    With noise they are a sample without replacement (Gumbel-top-k: Kool et al. 2019; as children of
    Recursive Speculative Decoding, Jeon et al. 2024). Each comes with the chance that another model's
    argmax is there: both share the noise, and if their logits [vocabulary] differ by standard Gumbel
    errors it is softmax(logits + temperature * noise), at temperature 0 the plain softmax.
    """
    scores = logits.float()
    if sampling.temperature > 0.0:
        scaled = (scores - scores.max()) / sampling.temperature
        left = truncate(scaled, sampling.top_k, sampling.top_p, sampling.min_p).cpu()
        scores = sampling.temperature * (left + gumbel(sampling.seed, position, len(left)))
    total = scores.logsumexp(0)
    top = scores.topk(min(count + 1, len(scores)))
    chances = dict(zip(top.indices.tolist(), (top.values - total).exp().tolist(), strict=True))
    own = float((scores[token] - total).exp())
    others = [(other, chance) for other, chance in chances.items() if other != token and chance > 0.0]
    return [(token, own), *others][:count]


def successors(logits: Tensor, count: int) -> list[list[int]]:
    """The `count` likeliest tokens of each row of logits [rows, vocabulary], likeliest first."""
    if count == 0:
        return []
    top: list[list[int]] = torch.topk(logits, min(count, logits.shape[-1]), dim=-1).indices.tolist()
    return top
