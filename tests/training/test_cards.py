"""What a card says of a head, against its definition by hand."""

import numpy as np
import pytest
import torch

from ringroad.actors.head.card import Card
from ringroad.cluster.training.fitting import (
    CALIBRATED,
    QUANTILES,
    RECALL,
    average_precision,
    calibrated,
    cautious,
    summary,
)
from tests.training.tokens import some


def precision_by_hand(scores: list[float], wanted: list[bool]) -> float:
    """For every wanted row the precision of taking it and all above it; the mean of these."""
    found = []
    for score, is_wanted in zip(scores, wanted, strict=True):
        if is_wanted:
            taken = [w for s, w in zip(scores, wanted, strict=True) if s >= score]
            found.append(sum(taken) / len(taken))
    return sum(found) / len(found)


def test_average_precision_is_its_definition() -> None:
    draw = np.random.default_rng(0)
    for _ in range(60):
        rows = int(draw.integers(1, 40))
        scores, wanted = draw.permutation(rows) / rows, draw.random(rows) < draw.random()
        wanted[draw.integers(rows)] = True
        found = average_precision(torch.tensor(scores), torch.tensor(wanted))
        assert found == pytest.approx(precision_by_hand(scores.tolist(), wanted.tolist()), abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "wanted", "expected"),
    [
        ([0.9, 0.8, 0.1], [True, True, False], 1.0),
        ([0.9, 0.8, 0.1], [False, False, True], 1 / 3),
        ([0.9, 0.8, 0.7, 0.6], [True, False, True, False], (1 + 2 / 3) / 2),
        ([0.9, 0.8], [False, False], 0.0),
    ],
)
def test_average_precision_of_a_few(scores: list[float], wanted: list[bool], expected: float) -> None:
    assert average_precision(torch.tensor(scores), torch.tensor(wanted)) == pytest.approx(expected)


def test_the_default_threshold_is_the_highest_that_catches_enough() -> None:
    draw = np.random.default_rng(1)
    for _ in range(60):
        rows = int(draw.integers(5, 300))
        scores, matters = draw.random(rows) ** draw.integers(1, 4), draw.random(rows) < 0.4
        matters[0] = True
        caught = {n / 100: (scores[matters] >= n / 100).mean() for n in range(1, 100)}
        enough = [at for at, share in caught.items() if share >= RECALL]
        assert cautious(torch.tensor(scores), torch.tensor(matters)) == max(enough, default=0.01)


@pytest.mark.parametrize(
    ("scores", "matters", "expected"),
    [
        ([0.5, 0.5], [True, False], 0.5),
        ([0.999, 0.2], [True, False], 0.99),
        ([0.001, 0.2], [True, False], 0.01),
        ([0.5, 0.6], [False, False], 0.01),  # nothing is known: the large model nearly always
        ([*[0.7] * 18, *[0.1] * 2], [True] * 20, 0.7),  # two in twenty may be missed
        ([*[0.7] * 17, *[0.1] * 3], [True] * 20, 0.1),
    ],
)
def test_the_default_threshold_of_a_few(scores: list[float], matters: list[bool], expected: float) -> None:
    assert cautious(torch.tensor(scores, dtype=torch.float64), torch.tensor(matters)) == expected


def test_a_card_knows_what_held_out_tokens_tell() -> None:
    judged = some(400)
    learned = torch.rand(400, generator=torch.Generator().manual_seed(3))
    found = calibrated(judged, learned)
    seen = judged.features
    by_hand = {
        "learned": learned.double().numpy(),
        "margin": 1 - np.array(seen.margin),
        "entropy": 1 - np.exp(-np.array(seen.entropy)),
        "max-prob": 1 - np.array(seen.top),
    }
    assert set(found["quantiles"]) == set(CALIBRATED) == set(by_hand)
    for name, doubt in by_hand.items():
        known = found["quantiles"][name]
        assert known == pytest.approx(np.quantile(doubt, np.linspace(0, 1, QUANTILES)).tolist(), abs=1e-5)
        assert sorted(known) == known
        assert known[0] < known[-1]
        by_definition = precision_by_hand(doubt.tolist(), judged.matters.tolist())
        assert found["figures"][f"precision {name}"] == pytest.approx(by_definition, abs=1e-3)
    threshold = found["threshold"]
    matters, differs = judged.matters.numpy(), judged.differs.numpy()
    assert threshold == cautious(learned, judged.matters)
    assert found["recall"] == pytest.approx((by_hand["learned"][matters] >= threshold).mean(), abs=1e-4)
    assert found["recall"] >= RECALL
    assert found["figures"]["consulted"] == pytest.approx((by_hand["learned"] >= threshold).mean(), abs=1e-4)
    assert found["figures"]["matter"] == pytest.approx(matters.mean(), abs=1e-4)
    assert found["figures"]["differ"] == pytest.approx(differs.mean(), abs=1e-4)
    assert found["figures"]["tokens"] == 400


def test_a_card_is_told_in_words() -> None:
    card = Card(
        small="s1", large="l1", small_name="little", large_name="big", small_weights="int4", date="today",
        **calibrated(some(200), torch.rand(200, generator=torch.Generator().manual_seed(1))),
    )  # fmt: skip
    text = summary(card, {"gsm8k": 50, "talk": 3}, "a judge")
    for part in (
        "little (int4) and big",
        "50 of gsm8k, 3 of talk",
        "judged by a judge",
        "small s1, large l1",
    ):
        assert part in text
    for name in CALIBRATED:
        assert f"| {name} | {card.figures[f'precision {name}']:.3f} |" in text
    assert f"{card.recall:.1%} of those that matter" in text
