"""Two models in one process under the rules with probabilities."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Sampling
from ringroad.actors.probabilistic import Probabilistic
from ringroad.actors.verifier.acceptance import RULES
from tests import reference
from tests.engine.tiny import prompt, tiny
from tests.kernels.test_distribution import DOUBT, doubt

KINDS = [(rule, drafts) for rule in RULES for drafts in RULES[rule].drafts]
SHAPES = [(), (1,), (1, 1, 1), (2, 2), (3, 1, 1)]
TEXT = prompt(6, 2)
WARM = Sampling(3, 1.0)


def pair(rule: str, drafts: str = "", widths: Sequence[int] = (2, 2), shaken: float = 0.05) -> Probabilistic:
    small, large = Engine(tiny(shaken=shaken)), Engine(tiny())
    return Probabilistic(small, large, rule, widths, drafts)


@cache
def greedy() -> list[int]:
    return reference.plain_text(tiny(), TEXT, Sampling(), 16)


@pytest.mark.parametrize(("rule", "drafts"), KINDS)
@pytest.mark.parametrize("widths", SHAPES, ids=str)
def test_without_temperature_the_text_is_the_plain_one(
    rule: str, drafts: str, widths: tuple[int, ...]
) -> None:
    found = pair(rule, drafts, widths).generate(TEXT, Sampling(), 16)
    assert found.tokens == greedy()
    assert found.consults + found.accepted == 16
    assert (found.accepted > 0) == (len(widths) > 0)


@pytest.mark.parametrize(("rule", "drafts"), KINDS)
def test_the_same_seed_gives_the_same_text(rule: str, drafts: str) -> None:
    room = pair(rule, drafts)
    first = room.generate(TEXT, WARM, 20)
    assert len(first.tokens) == 20
    assert room.generate(TEXT, WARM, 20) == pair(rule, drafts).generate(TEXT, WARM, 20) == first
    assert room.generate(TEXT, Sampling(4, 1.0), 20) != first
    assert first.consults < 20


@pytest.mark.parametrize(("rule", "drafts"), KINDS)
@pytest.mark.parametrize("at", [0, 3, 9])
def test_an_end_is_the_last_token(rule: str, drafts: str, at: int) -> None:
    whole = pair(rule, drafts).generate(TEXT, WARM, 12).tokens
    expected = whole[: whole.index(whole[at]) + 1]
    assert pair(rule, drafts).generate(TEXT, WARM, 12, [whole[at]]).tokens == expected


@pytest.mark.parametrize(("rule", "drafts"), KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_a_replay_from_committed_text_goes_on_the_same_way(rule: str, drafts: str, seed: int) -> None:
    """Nothing but the text is carried from one consult to the next: what caches hold is the text's.

    So a lost pair is replaced by another. The first consult ended after one to three tokens.
    """
    room, sampling = pair(rule, drafts, (3, 2), shaken=0.2), Sampling(seed, 1.0)
    whole = room.generate(TEXT, sampling, 16).tokens
    rests = [room.generate([*TEXT, *whole[:n]], sampling, 16 - n).tokens for n in (1, 2, 3)]
    assert any(whole[n:] == rest for n, rest in enumerate(rests, start=1))


@pytest.mark.parametrize("rule", ["rejection", "k_seq", "recursive"])
def test_equal_models_agree(rule: str) -> None:
    found = pair(rule, widths=(1, 1, 1), shaken=0.0).generate(TEXT, WARM, 20)
    assert found.accepted == found.drafted == 15
    assert found.consults == 5


def test_both_engines_are_left_empty() -> None:
    small, large = Engine(tiny(shaken=0.05)), Engine(tiny())
    Probabilistic(small, large).generate(TEXT, WARM, 5)
    assert small.held_tokens == large.held_tokens == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "typical"}, "there are rejection, point_mass, recursive, k_seq"),
        ({"rule": "recursive", "drafts": "independent"}, "judges drafts without_replacement, beam"),
        ({"widths": (2, 0)}, "at least 1"),
    ],
)
def test_what_would_be_biased_is_refused(arguments: dict[str, object], message: str) -> None:
    engine = Engine(tiny())
    with pytest.raises(ValueError, match=message):
        Probabilistic(engine, engine, **arguments)  # type: ignore[arg-type]


# --- the distribution of the text -----------------------------------------------------------------

NARROW = {"temperature": 1.3, "top_k": 3}


@cache
def two_tokens(shaken: float) -> dict[tuple[int, int], float]:
    """A model's own law of the two tokens after TEXT, from fresh engines."""

    def after(text: Sequence[int]) -> np.ndarray:
        engine = Engine(tiny(shaken=shaken))
        engine.open("s", Sampling(0, **NARROW))
        rows = engine.step([Work("s", text, distributions=True)])[0].distributions
        assert rows is not None
        return rows[0].double().numpy()

    first = after(TEXT)
    seconds = {int(a): after([*TEXT, int(a)]) for a in np.flatnonzero(first)}
    return {(a, int(b)): float(first[a] * row[b]) for a, row in seconds.items() for b in np.flatnonzero(row)}


@pytest.mark.parametrize(("rule", "drafts"), KINDS)
def test_the_first_tokens_are_drawn_as_the_large_model_draws_them(rule: str, drafts: str) -> None:
    law, small = two_tokens(0.0), two_tokens(0.2)
    cells = sorted(law | small)
    room = pair(rule, drafts, (2, 2), shaken=0.2)
    found = []
    for seed in range(500):
        a, b, _ = room.generate(TEXT, Sampling(seed, **NARROW), 3).tokens
        found.append(cells.index((a, b)))
    assert doubt(np.array(found), [law.get(cell, 0.0) for cell in cells]) > DOUBT
    assert doubt(np.array(found), [small.get(cell, 0.0) for cell in cells]) < DOUBT
