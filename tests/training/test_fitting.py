"""The net that learns, against the head that serves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ringroad.actors.head.card import Card
from ringroad.actors.head.file import read, write
from ringroad.cluster.training import fitting
from ringroad.cluster.training.fitting import (
    OTHER,
    Examples,
    Net,
    average_precision,
    doubts,
    fit,
    scale,
)
from ringroad.kernels.head import Head, Sight
from tests.training.tokens import some


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


def test_what_seems_not_to_matter_is_learnt_as_less() -> None:
    judged = some(300)
    _, wanted = judged.rows(torch.arange(300))
    assert set(wanted[judged.matters].tolist()) == {1.0}
    assert wanted[judged.differs & ~judged.matters].tolist() == pytest.approx(
        [OTHER] * int((judged.differs & ~judged.matters).sum())
    )
    assert 0 < OTHER < 1
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
