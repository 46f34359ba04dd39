"""Trees of guesses: merged as sets of paths would be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.actors.drafter.tree import NOTHING, Growing, Tree, behind, best, chain, merge, only
from tests.roles import draft_reference
from tests.roles.drafting import paths


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Small trees of few tokens; scores fall with depth, and tie now and then."""
    grown = Growing()
    for _ in range(draw(st.integers(0, 8))):
        parent = draw(st.integers(-1, len(grown) - 1))
        reach = grown.scores[parent] if parent >= 0 else 1.0
        token = draw(st.integers(0, 3))
        if (parent, token) not in zip(grown.parents, grown.tokens, strict=True):
            grown.add(token, parent, reach * draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])))
    return grown.tree


@given(st.lists(trees(), max_size=4), st.integers(0, 12), st.sampled_from([0.0, 0.2, 0.5]))
def test_merging_against_sets_of_paths(several: list[Tree], budget: int, floor: float) -> None:
    expected = draft_reference.merged([paths(tree) for tree in several], floor)
    merged = paths(merge(several, budget, floor))
    assert len(merged) == min(budget, len(expected))
    assert merged == {path: expected[path] for path in merged}
    left = [score for path, score in expected.items() if path not in merged]
    assert max(left, default=0.0) <= min(merged.values(), default=1.0), "the likeliest stay"


@given(trees())
def test_merging_one_tree_changes_nothing(tree: Tree) -> None:
    assert paths(merge([tree, tree, NOTHING], 99)) == paths(tree)


def test_the_first_trees_nodes_stand_first() -> None:
    merged = merge([chain([1, 2], [0.5, 0.1]), chain([7, 8], [0.9, 0.8])], 4)
    assert (list(merged.tokens), list(merged.parents)) == ([1, 2, 7, 8], [-1, 0, -1, 2])


@given(trees(), st.integers(0, 9))
def test_the_best_nodes_hang_together(tree: Tree, budget: int) -> None:
    kept = best(tree, range(len(tree)), budget)
    assert len(kept) == min(budget, len(tree))
    assert paths(only(tree, kept)).items() <= paths(tree).items()


def test_a_tree_behind_a_chain() -> None:
    tree = Tree([5, 6, 7], [-1, 0, -1], [0.5, 0.25, 0.5])
    assert paths(behind(chain([1, 2], [0.8, 0.4]), tree)) == pytest.approx(
        {(1,): 0.8, (1, 2): 0.4, (1, 2, 5): 0.2, (1, 2, 5, 6): 0.1, (1, 2, 7): 0.2}
    )
    assert paths(behind(NOTHING, tree)) == paths(tree)


def test_what_a_chain_is() -> None:
    assert NOTHING.is_chain
    assert chain([4, 4], [0.5, 0.5]).is_chain
    assert not Tree([1, 2], [-1, -1], [0.5, 0.5]).is_chain
