"""The net that learns, against the head that serves, and what a card says, against its definition by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ringroad.actors.head.card import Card
from ringroad.actors.head.file import read, write
from ringroad.actors.messages import Features
from ringroad.cluster.training import fitting
from ringroad.cluster.training.fitting import (
    CALIBRATED,
    QUANTILES,
    RECALL,
    Examples,
    Net,
    average_precision,
    calibrated,
    cautious,
    doubts,
    fit,
    scale,
    summary,
)
from ringroad.kernels.head import TOPS, Head, Sight

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


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A net that a test has time for."""
    monkeypatch.setattr(fitting, "BUCKETS", 64)
    monkeypatch.setattr(fitting, "WIDE", 64)
    monkeypatch.setattr(fitting, "INNER", 32)
    monkeypatch.setattr(fitting, "BATCH", 128)
    monkeypatch.setattr(fitting, "RATE", 5e-3)


def shaken(examples: Examples, seed: int = 0) -> Net:
    """A net with weights that make doubts differ, and a dataset's own mean and spread."""
    torch.manual_seed(seed)
    plain = torch.cat([examples.seen.hidden.float(), examples.seen.tops - examples.seen.tops[:, :1]], 1)
    net = Net(plain.mean(0), plain.std(0) + 1e-3)
    with torch.no_grad():
        for name, each in net.named_parameters():
            each += torch.randn_like(each) * (0.3 if name == "out.weight" else 0.05)
    return net.eval()


# --- the net and the head -------------------------------------------------------------------------


@pytest.mark.parametrize("off", [0, 6])
@pytest.mark.parametrize("seed", range(3))
def test_the_head_says_what_the_net_says(seed: int, off: int) -> None:
    """But for what bf16 loses. off: how far some entries of a state are from naught, in their own spread."""
    seen = some(300, seed)
    hidden = seen.seen.hidden.float()
    hidden[:, -4:] += off * hidden[:, -4:].std(0)
    seen = replace(seen, seen=Sight(hidden.bfloat16(), seen.seen.tops, seen.seen.tokens))
    net = shaken(seen, seed)
    ours, theirs = doubts(net, seen).logit(), Head(net.tensors()).doubts(seen.seen).logit()
    assert float(ours.std()) > 1, "doubts differ"
    assert float((ours - theirs).square().mean().sqrt()) < 0.07 * float(ours.std())


def test_a_head_is_the_same_read_from_its_file(tmp_path: Path) -> None:
    seen = some(50)
    net = shaken(seen)
    write(tmp_path / "head.safetensors", net.tensors(), Card(small="a", large="b", threshold=0.5))
    assert torch.equal(
        Head(read(tmp_path / "head.safetensors").tensors).doubts(seen.seen),
        Head(net.tensors()).doubts(seen.seen),
    )


@pytest.mark.usefixtures("small")
def test_an_obvious_pattern_is_learnt() -> None:
    learnt, judged = (replace(each, differs=each.matters) for each in (some(3000, 1), some(800, 2)))
    told: list[tuple[int, float]] = []
    net = fit(learnt, judged, lambda *each: told.append(each))
    reached = average_precision(doubts(net, judged), judged.matters)
    base = float(judged.matters.float().mean())
    assert reached > 0.8 > 4 * base
    assert [epoch for epoch, _ in told] == list(range(fitting.EPOCHS))
    assert reached == max(each for _, each in told), "the best epoch's net is kept"
    assert not net.training
    served = Head(net.tensors()).doubts(judged.seen)
    assert torch.allclose(doubts(net, judged), served, atol=0.05)
    assert average_precision(served, judged.matters) > 0.8


@pytest.mark.usefixtures("small")
def test_where_there_is_no_pattern_none_is_found() -> None:
    net = fit(some(1000, 1, pattern=False), some(800, 2, pattern=False), lambda *_: None)
    fresh = some(800, 3, pattern=False)
    assert average_precision(doubts(net, fresh), fresh.matters) < 2.5 * float(fresh.matters.float().mean())


@pytest.mark.usefixtures("small")
def test_a_seed_gives_one_net() -> None:
    learnt, judged = some(400, 1), some(200, 2)
    one, same, other = (fit(learnt, judged, lambda *_: None, seed).tensors() for seed in (0, 0, 1))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_what_seems_not_to_matter_is_learnt_as_half() -> None:
    judged = some(300)
    _, wanted = judged.rows(torch.arange(300))
    assert set(wanted[judged.matters].tolist()) == {1.0}
    assert set(wanted[judged.differs & ~judged.matters].tolist()) == {0.5}
    assert set(wanted[~judged.differs].tolist()) == {0.0}


@pytest.mark.usefixtures("small")
def test_a_doubt_is_the_share_of_tokens_like_it_that_differ() -> None:
    """Of what is said to differ with a probability of p, about p does; and nobody changes places."""
    learnt, judged = some(3000), some(6000, seed=1)
    net = fit(learnt, some(1000, seed=2), lambda *_: None)
    with torch.no_grad():
        net.out.bias += 2.0  # as if trained with weights
    before = doubts(net, judged)
    scale(net, judged)
    after = doubts(net, judged)
    assert float(after.mean()) == pytest.approx(float(judged.differs.float().mean()), rel=0.02)
    assert (after.diff()[before.diff() > 1e-3] >= 0).all()


def test_no_other_line_gives_better_probabilities() -> None:
    judged = some(600)
    net = shaken(judged)
    scale(net, judged)
    odds, differs = doubts(net, judged).double().logit(), judged.differs.double()

    def loss(slope: float, shift: float) -> float:
        line = slope * odds + shift
        return float(torch.nn.functional.binary_cross_entropy_with_logits(line, differs))

    around = [(slope, shift) for slope in (0.95, 1, 1.05) for shift in (-0.05, 0, 0.05)]
    assert min(around, key=lambda line: loss(*line)) == (1, 0)


@pytest.mark.usefixtures("small")
def test_doubts_without_a_fault_stay_apart() -> None:
    judged = some(60)
    net = shaken(judged)
    before = doubts(net, judged)
    scale(net, replace(judged, differs=before > before.median()))
    after = doubts(net, judged)
    assert len(after.unique()) == len(before.unique())
    assert torch.equal(after.argsort(), before.argsort())


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("rows", [2, 127, 128, 129, 256])
def test_any_count_of_rows_can_be_learnt_from(rows: int) -> None:
    learnt, judged = some(rows, 1), some(30, 2)
    net = fit(learnt, judged, lambda *_: None)
    assert all(torch.isfinite(tensor).all() for tensor in net.tensors().values())


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("matters", [True, False])
def test_where_all_or_nothing_matters_the_net_stays_finite(matters: bool) -> None:
    seen = some(100)
    same = replace(seen, matters=torch.full((100,), matters), differs=torch.full((100,), matters))
    net = fit(same, same, lambda *_: None)
    assert all(torch.isfinite(tensor).all() for tensor in net.tensors().values())


# --- figures --------------------------------------------------------------------------------------


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
        ([*[0.7] * 17, *[0.1] * 3], [True] * 20, 0.7),  # three in twenty may be missed
        ([*[0.7] * 16, *[0.1] * 4], [True] * 20, 0.1),
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
