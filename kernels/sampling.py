"""Coupled sampling: an exact draw from a distribution that is a pure function of logits and noise.

Gumbel-max (Gumbel 1954; Maddison et al., A* Sampling, 2014): argmax of log p + Gumbel noise is a
sample from p. Two models given the same noise agree as often as their distributions allow, and a
verifier needs no draft probabilities to check a draft: it draws its own token and compares.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from ringroad.kernels import native
from ringroad.kernels.noise import Row, noisy_best, noisy_rows
from ringroad.kernels.ranking import ranked

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
        return int(survey(logits.unsqueeze(0), 1).ids[0, 0])
    ids, _ = best(
        logits,
        1,
        seed=seed,
        position=position,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
    )
    return int(ids[0])


def best(
    logits: torch.Tensor,
    count: int,
    *,
    seed: int,
    position: int,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The token that `draw` gives and those that come closest, best first, with what they are compared
    by: ids and scaled logit plus noise, both [at least count, as far as truncation leaves so many].

    A sample without replacement (Gumbel-top-k: Kool et al. 2019). Not for temperature 0: `survey`.
    """
    scores = _scaled(logits, temperature, top_k, top_p, min_p)
    return _in_order(*noisy_best(scores, count, seed, position))


@dataclass(frozen=True)
class Draw(Row):
    """Of one row of logits what `best` wants."""

    top_k: int
    top_p: float
    min_p: float

    @property
    def whole(self) -> bool:
        """Whether truncation leaves nothing out."""
        return self.top_k == 0 and self.top_p == 1.0 and self.min_p == 0.0


def best_rows(logits: torch.Tensor, draws: Sequence[Draw]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """`best` for rows of logits [rows, vocabulary]: those that nothing truncates together, without a copy."""
    together = [draw for draw in draws if draw.whole]
    if logits.dtype != torch.bfloat16 or not native.reads(logits):
        together = []
    found = iter(noisy_rows(logits, together) if together else ())
    return [_in_order(*next(found)) if draw in together else _alone(logits, draw) for draw in draws]


def _alone(logits: torch.Tensor, draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
    wanted = asdict(draw)
    return best(logits[wanted.pop("row")], wanted.pop("count"), **wanted)


def _in_order(ids: torch.Tensor, totals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    order = torch.argsort(ids)  # of equals the lowest id first, as `draw` has it
    order = order[torch.argsort(totals[order], descending=True, stable=True)]
    kept = order[totals[order] > -math.inf]
    return ids[kept], totals[kept]


def distribution(
    logits: torch.Tensor, *, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> torch.Tensor:
    """What `draw` draws from, over positions: [vocabulary] fp32. Temperature 0: all on its one token."""
    if temperature == 0.0:
        certain = torch.zeros_like(logits, dtype=torch.float32)
        certain[survey(logits.unsqueeze(0), 1).ids[0, 0]] = 1.0
        return certain
    return _scaled(logits, temperature, top_k, top_p, min_p).softmax(-1)


def _scaled(logits: torch.Tensor, temperature: float, top_k: int, top_p: float, min_p: float) -> torch.Tensor:
    """Logits over temperature, less what truncation leaves out: [vocabulary] fp32."""
    logits = logits.float()
    # The largest first: divided by a tiny temperature it would overflow.
    return truncate((logits - logits.max()) / temperature, top_k, top_p, min_p)


@dataclass(frozen=True)
class Survey:
    """What there is to know of rows of logits without their vocabulary."""

    ids: torch.Tensor  # [rows, k] int64, the likeliest first, of equals the lowest
    logits: torch.Tensor  # [rows, k] fp32
    log_sum: torch.Tensor  # [rows] fp32: log of the sum of all exponentials
    entropy: torch.Tensor  # [rows] fp32, nats

    def rows(self, at: slice | torch.Tensor) -> "Survey":
        """Of some rows alone."""
        return Survey(self.ids[at], self.logits[at], self.log_sum[at], self.entropy[at])

    @property
    def chances(self) -> torch.Tensor:
        """Probabilities of `ids`: [rows, k] fp32."""
        return (self.logits - self.log_sum.unsqueeze(1)).exp()

    @property
    def margin(self) -> torch.Tensor:
        """Probability of the likeliest token less that of the second: [rows] fp32."""
        return self.chances[:, 0] - self.chances[:, 1]


def survey(logits: torch.Tensor, k: int) -> Survey:
    """Of logits [rows, vocabulary] the k best tokens, and what their raw softmax looks like."""
    k = min(k, logits.shape[-1])
    if logits.dtype == torch.bfloat16 and native.reads(logits):
        return Survey(*native.survey(logits, k))
    log_p = logits.float().log_softmax(-1)
    weighed = (log_p.exp() * log_p).masked_fill(log_p == -math.inf, 0.0)  # what is left out weighs nothing
    ids, top = ranked(logits, k)
    return Survey(ids.cpu(), top.cpu(), logits.float().logsumexp(-1).cpu(), -weighed.sum(-1).cpu())


def together(surveys: Sequence[Survey]) -> Survey:
    """One after another; all equally deep."""
    columns = zip(*((each.ids, each.logits, each.log_sum, each.entropy) for each in surveys), strict=True)
    return Survey(*map(torch.cat, columns))
