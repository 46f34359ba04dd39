"""The hard rule against brute force, and how a role follows a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.actors.texts import Behind, follow
from ringroad.actors.verifier.acceptance import accept
from tests import reference

tokens = st.integers(0, 2)  # few, so that they agree often


@st.composite
def proposals(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """Outcomes, guesses and parents of a tree whose siblings differ."""
    size = draw(st.integers(0, 10))
    guesses, parents = [], []
    for node in range(size):
        parent = draw(st.integers(-1, node - 1))
        taken = {g for g, p in zip(guesses, parents, strict=True) if p == parent}
        if len(taken) < 3:
            guesses.append(draw(tokens.filter(lambda t, taken=taken: t not in taken)))
            parents.append(parent)
            continue
        break
    return draw(st.lists(tokens, min_size=len(guesses) + 1, max_size=len(guesses) + 1)), guesses, parents


@given(proposals())
def test_a_tree_against_brute_force(proposal: tuple[list[int], list[int], list[int]]) -> None:
    assert accept(*proposal) == reference.longest_agreement(*proposal)


@given(st.lists(tokens, max_size=8), st.data())
def test_who_is_trusted_stays(guesses: list[int], data: st.DataObject) -> None:
    outcomes = data.draw(st.lists(tokens, min_size=len(guesses) + 1, max_size=len(guesses) + 1))
    trusted = data.draw(st.sets(st.sampled_from(range(len(guesses))))) if guesses else set()
    wrong = (i for i, g in enumerate(guesses) if g != outcomes[i] and i not in trusted)
    stayed = next(wrong, len(guesses))
    assert accept(outcomes, guesses, (), trusted) == (list(range(stayed)), outcomes[stayed])


@given(st.lists(tokens, max_size=8), st.data())
def test_a_chain_against_brute_force(guesses: list[int], data: st.DataObject) -> None:
    outcomes = data.draw(st.lists(tokens, min_size=len(guesses) + 1, max_size=len(guesses) + 1))
    expected = reference.longest_agreement(outcomes, guesses, range(-1, len(guesses) - 1))
    assert accept(outcomes, guesses) == expected
    agreed = next((i for i, g in enumerate(guesses) if g != outcomes[i]), len(guesses))
    assert expected == (list(range(agreed)), outcomes[agreed])


def test_known_trees() -> None:
    assert accept([5], []) == ([], 5)
    assert accept([5, 6, 7], [5, 6]) == ([0, 1], 7)
    assert accept([5, 6, 7], [4, 6]) == ([], 5)
    assert accept([5, 0, 8, 9], [4, 5, 8], [-1, -1, 1]) == ([1, 2], 9)
    assert accept([5, 5, 5], [5, 5], [-1, -1]) == ([0], 5), "of equal siblings the first"


@given(st.lists(tokens, max_size=6), st.integers(0, 8), st.lists(tokens, max_size=4))
def test_follow(text: list[int], base: int, new: list[int]) -> None:
    held = list(text)
    if base > len(text):
        with pytest.raises(Behind):
            follow(held, base, new)
        assert held == text
    else:
        follow(held, base, new)
        assert held == text[:base] + new
