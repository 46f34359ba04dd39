"""What the engine hands out in its own process is what it draws from."""

import pytest
import torch

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Sampling
from ringroad.kernels.sampling import distribution
from tests import reference
from tests.engine.tiny import SHAPE, prompt, tiny

SAMPLINGS = [
    Sampling(),
    Sampling(1, 0.7),
    Sampling(2, 1.3, top_k=5),
    Sampling(3, 1.0, top_p=0.8),
    Sampling(4, 1.2, min_p=0.05),
    Sampling(5, 0.9, top_k=40, top_p=0.95, min_p=0.01),
]


def expected(logits: torch.Tensor, sampling: Sampling) -> list[float]:
    scores = logits.double().tolist()
    if sampling.temperature == 0:
        token = reference.draw(scores, sampling, 0)
        return [float(i == token) for i in range(len(scores))]
    return reference.distribution(
        [s / sampling.temperature for s in scores], sampling.top_k, sampling.top_p, sampling.min_p
    )


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_against_the_slow_twin(sampling: Sampling) -> None:
    for seed in range(20):
        logits = 2 * torch.randn(50, generator=torch.Generator().manual_seed(seed))
        found = distribution(
            logits,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
        )
        assert found.dtype == torch.float32
        assert found.tolist() == pytest.approx(expected(logits, sampling), abs=1e-6)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_of_each_answer_in_company_of_draws(sampling: Sampling) -> None:
    """In a tree, beside a session that wants tokens; the draws lie in what was handed out."""
    engine = Engine(tiny())
    for session in ("given", "drawn"):
        engine.open(session, sampling)
    tokens, parents = prompt(6), [-1, 0, 1, 1, 3, 0]
    given, drawn = engine.step(
        [
            Work("given", tokens, parents, answers=4, distributions=True),
            Work("drawn", tokens, parents, answers=4),
        ]
    )
    assert given.tokens == []
    assert drawn.distributions is None
    assert given.distributions is not None
    assert given.distributions.shape == (4, SHAPE.vocabulary)
    assert given.distributions.sum(-1).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    for row, token in zip(given.distributions, drawn.tokens, strict=True):
        assert row[token] > 0
        if sampling.temperature == 0:
            assert row[token] == 1
