"""What routers look at: features, and the head's doubts, inside the engine and elsewhere."""

import pytest
import torch

from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.messages import Sampling
from ringroad.kernels.coin import coin
from ringroad.kernels.head import TOPS, Head
from tests.engine.tiny import KINDS, SHAPE, Kind, prompt, tiny
from tests.kernels.heads import tensors

HEAD = Head(tensors(SHAPE.width))
TEXT = prompt(12)
SAMPLINGS = [Sampling(9), Sampling(4, 0.8)]


def stepped(
    kind: Kind, *works: Work, head: Head | None = HEAD, sampling: Sampling = SAMPLINGS[1]
) -> list[Outcome]:
    engine = Engine(tiny(kind), head=head)
    for session in {work.session for work in works}:
        engine.open(session, sampling)
    return engine.step(works)


def asks(session: str = "s", answers: int = 5, **wants: bool) -> Work:
    return Work(session, TEXT, answers=answers, features=True, **wants)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_the_logits_say(kind: Kind) -> None:
    engine, sampling = Engine(tiny(kind)), SAMPLINGS[1]
    engine.open("s", sampling)
    logits: list[torch.Tensor] = []
    model = engine.model
    original = model.head

    def head(hidden: torch.Tensor) -> torch.Tensor:
        logits.append(original(hidden))
        return logits[-1]

    model.head = head
    try:
        (found,) = engine.step([asks()])
    finally:
        model.head = original
    chances = logits[0].double().softmax(-1).sort(descending=True).values
    assert found.features is not None
    assert found.features.top == pytest.approx(chances[:, 0].tolist(), abs=1e-5)
    assert found.features.margin == pytest.approx((chances[:, 0] - chances[:, 1]).tolist(), abs=1e-5)
    assert found.features.coin == [coin(sampling.seed, len(TEXT) - 4 + i) for i in range(5)]
    assert found.features.doubt == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_the_head_says_the_same_inside_and_elsewhere(kind: Kind, sampling: Sampling) -> None:
    (inside,) = stepped(kind, asks(doubts=True), sampling=sampling)
    (outside,) = stepped(kind, asks(sights=True), head=None, sampling=sampling)
    assert inside.features is not None
    assert outside.features is not None
    assert outside.sights is not None
    assert outside.sights.tokens.tolist() == outside.tokens == inside.tokens
    assert outside.sights.tops.shape == (5, TOPS)
    assert inside.features.doubt == HEAD.doubts(outside.sights).tolist()
    assert len(set(inside.features.doubt)) > 1
    assert (inside.sights, outside.features.doubt) == (None, [])


@pytest.mark.parametrize("kind", KINDS)
def test_who_asks_for_doubts_changes_nothing_for_others(kind: Kind) -> None:
    """Nor do others for who asks: doubts, features and tokens have the same bits alone."""
    together = [
        asks("a", 1, doubts=True),
        asks("b", 4),
        Work("c", TEXT, answers=3, siblings=2),
        asks("d", 2, sights=True),
    ]
    for work, found in zip(together, stepped(kind, *together), strict=True):
        (alone,) = stepped(kind, work)
        assert found == alone
        assert (found.sights is None) == (not work.sights)


def test_where_nobody_asks_the_head_is_not() -> None:
    class Broken(Head):
        def doubts(self, seen: object) -> torch.Tensor:  # type: ignore[override]
            raise AssertionError("asked")

    head = Broken(tensors(SHAPE.width))
    (found,) = stepped("bf16", asks(), head=head)
    assert found.features is not None
    assert found.features.doubt == []


def test_without_a_head_nobody_has_doubts() -> None:
    (found,) = stepped("bf16", asks(doubts=True), head=None)
    assert found.features is not None
    assert found.features.doubt == []
