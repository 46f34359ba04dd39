"""The drafter with a model, one draft at a time: its trees, its passes, and what stands beside it."""

import itertools

import pytest
import torch

from ringroad.actors.drafter.growth import Growth
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.drafter.shapes import Shape, beam, branch, make, threshold
from ringroad.actors.drafter.strategy import Strategy
from ringroad.actors.drafter.tree import Tree, chain
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Close, Consult, Draft, Open, Policy, Proposal, Sampling, Verdict
from ringroad.actors.verifier.verifier import Verifier
from tests import reference
from tests.roles import draft_reference
from tests.roles.drafting import ensemble, planned
from tests.roles.one_draft import COLD, MODEL, SAMPLINGS, TEXT, WARM, Counted, judged, proposal, tree_of

LONG = reference.plain_text(MODEL, TEXT, WARM, 16)


class Said(Strategy):
    """Proposes a part of what the model will say, or something else."""

    def __init__(self, *tokens: int, score: float = 0.5) -> None:
        self._tokens, self._score = tokens, score

    def propose(self, session: str, text: object, budget: int) -> Tree:
        at = len(text) - len(TEXT)  # type: ignore[arg-type]
        tokens = list(self._tokens[at : at + budget])
        return chain(tokens, [self._score] * len(tokens))


# --- siblings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_siblings_are_the_best_of_what_is_drawn_from(sampling: Sampling) -> None:
    for length in (3, 9, 20):
        engine = Engine(MODEL)
        engine.open("s", sampling)
        (outcome,) = engine.step([Work("s", TEXT[:length], answers=2, siblings=4, successors=3)])
        for row, answered in enumerate((length - 1, length)):
            expected = draft_reference.siblings(
                draft_reference.logits(MODEL, TEXT[:answered]), sampling, answered, 4
            )
            found = outcome.siblings[row]
            assert [token for token, _ in found] == [token for token, _ in expected]
            assert [c for _, c in found] == pytest.approx([c for _, c in expected], rel=1e-3)
            assert found[0][0] == outcome.tokens[row]
            logits = draft_reference.logits(MODEL, TEXT[:answered])
            top = sorted(range(len(logits)), key=lambda i: -logits[i])[:3]
            assert outcome.successors[row] == top


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("shape", ["branch", "beam", "dyspec", "threshold"])
@pytest.mark.parametrize("budget", [1, 4, 11])
def test_a_trees_nodes_are_what_the_model_says_there(shape: str, budget: int, sampling: Sampling) -> None:
    """Each node's children are the siblings that a model finds which reads its path alone."""
    found = tree_of(proposal(planned(MODEL, tree=shape), judged(budget), sampling))
    assert 1 <= len(found) <= budget
    for path, score in found.items():
        text = [*TEXT, *path[:-1]]
        beside = dict(draft_reference.siblings(draft_reference.logits(MODEL, text), sampling, len(text), 4))
        assert path[-1] in beside
        reach = found[path[:-1]] if path[1:] else 1.0
        assert score == pytest.approx(reach * beside[path[-1]], rel=1e-3)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("budget", [1, 2, 5, 9])
def test_dyspec_is_the_likeliest_tree(budget: int, sampling: Sampling) -> None:
    """As the paper builds it, one node at a time off a heap."""
    found = tree_of(proposal(planned(MODEL, tree="dyspec", passes=20), judged(budget), sampling))
    expected = draft_reference.likeliest_tree(
        lambda path: draft_reference.siblings(
            draft_reference.logits(MODEL, [*TEXT, *path]), sampling, len(TEXT) + len(path), 4
        ),
        budget,
    )
    assert found == pytest.approx(expected, rel=1e-3)


def grown(shape: Shape, passes: int, chances: tuple[float, ...]) -> tuple[Growth, list[int]]:
    """What has grown after some passes, and what of it belongs to the shape."""
    growth = Growth()
    front = [-1]
    for _ in range(passes):
        for node in front:
            growth.sprout(node, list(zip(itertools.count(10), chances, strict=False)))
        front = [node for node in shape(growth) if node not in growth.read]
    return growth, shape(growth)


def test_what_belongs_to_each_shape() -> None:
    chances = (0.5, 0.3, 0.1, 0.05)
    growth, nodes = grown(branch.wanted, 9, chances)
    depths = [growth.depths[node] for node in nodes]
    assert [depths.count(depth) for depth in range(6)] == [3, 6, 6, 6, 6, 0]
    growth, nodes = grown(beam.wanted, 9, chances)
    depths = [growth.depths[node] for node in nodes]
    assert [depths.count(depth) for depth in range(6)] == [3, 3, 3, 3, 3, 0]
    scores = sorted(growth.tree.scores[node] for node in nodes if growth.depths[node] == 1)
    assert scores == pytest.approx([0.15, 0.15, 0.25])
    growth, nodes = grown(threshold.wanted, 9, chances)
    assert len(nodes) == sum(score >= threshold.LIKELY for score in growth.tree.scores) > 5
    assert min(growth.tree.scores[node] for node in nodes) >= threshold.LIKELY


@pytest.mark.parametrize("shape", ["branch", "beam", "dyspec", "threshold"])
def test_passes_are_the_depth_and_the_text_is_read_once(shape: str) -> None:
    engine = Counted()
    drafter = ModelDrafter(engine, "small", plan=Plan(shape=make(shape), passes=4))
    found = tree_of(proposal(drafter, judged(12)))
    depth = max(len(path) for path in found)
    assert engine.rows[0] == len(TEXT)
    assert depth <= len(engine.rows) <= 4
    assert max(engine.rows[1:]) <= 3 * 12
    assert drafter.hello().cached_tokens == len(TEXT), "no branch stays"


def test_a_tree_that_is_full_takes_no_more_passes() -> None:
    engine = Counted()
    drafter = ModelDrafter(engine, "small", plan=Plan(shape=make("dyspec")))
    assert proposal(drafter, judged(1)).tokens == LONG[:1]
    assert len(engine.rows) == 1


# --- chains, and two levels -----------------------------------------------------------------------


def passes(strategy: Strategy, budget: int = 8, until: Policy | None = None) -> tuple[int, Proposal]:
    engine = Counted()
    drafter = ModelDrafter(engine, "small", plan=Plan(strategy, two_levels=True))
    answer = proposal(drafter, Draft("s", 0, 0, TEXT, budget, until))
    return len(engine.rows), answer


def test_right_guesses_of_a_strategy_save_passes() -> None:
    count, answer = passes(Said(*LONG))
    assert (count, answer.tokens) == (1, LONG[:8])
    count, answer = passes(Said(*LONG[:3], 0, 0, 0, 0, *LONG[7:]))
    assert (count, answer.tokens) == (5, LONG[:8]), "3 and one more, then one at a time"
    count, answer = passes(Said(*([0] * 20)))
    assert (count, answer.tokens) == (8, LONG[:8])


def test_two_levels_stop_at_the_same_doubt_and_see_the_same() -> None:
    everything = passes(Said(), 12, Policy("margin", 2.0))[1].features
    assert everything is not None
    for threshold_ in sorted(everything.margin)[1:]:
        rule = Policy("margin", 1.0 - threshold_)
        slow, quick = passes(Said(), 12, rule)[1], passes(Said(*LONG), 12, rule)[1]
        assert (quick.tokens, quick.features) == (slow.tokens, slow.features)
        assert slow.features is not None
        assert slow.features.margin[-1] <= threshold_ or len(slow.tokens) == 12


def test_after_two_levels_the_next_draft_goes_on() -> None:
    """Of what was read only what the model said stays; also where doubt cut it short."""
    for until in (None, Policy("margin", 0.5)):
        drafter = ModelDrafter(Engine(MODEL), "small", plan=Plan(Said(*LONG[:2], 0, 1), two_levels=True))
        first = proposal(drafter, Draft("s", 0, 0, TEXT, 6, until))
        base = len(TEXT) + len(first.tokens)
        second = proposal(drafter, Draft("s", 0, base - 1, [7], 4), opened=True)
        expected = reference.plain_text(MODEL, [*TEXT, *first.tokens[:-1], 7], WARM, 4)
        assert second.tokens == expected


# --- before and beside the model ------------------------------------------------------------------


def test_where_strategies_expect_enough_the_model_is_not_asked() -> None:
    for score, steps in ((0.75, 0), (0.74, 8)):
        engine = Counted()
        drafter = ModelDrafter(engine, "small", plan=Plan(Said(1, 2, 3, 4, score=score), enough=3.0))
        answer = proposal(drafter, judged(8))
        assert len(engine.rows) == steps
        if not steps:
            assert (answer.tokens, answer.parents, answer.features) == ([1, 2, 3, 4], [], None)
    engine = Counted()
    drafter = ModelDrafter(engine, "small", plan=Plan(Said(*LONG[:4]), model=False))
    assert proposal(drafter, judged(8)).tokens == LONG[:4]
    assert engine.rows == []
    assert proposal(drafter, Draft("s", 0, 0, TEXT, 3), opened=True).tokens == LONG[:3], (
        "its own where unjudged"
    )


def test_guesses_of_all_become_one_tree() -> None:
    other = [LONG[0], 1, 2]
    drafter = ModelDrafter(Engine(MODEL), "small", plan=Plan(Said(*other)))
    until = Policy("margin", 0.0)  # every guess is doubted: a chain of one
    answer = proposal(drafter, judged(8, until))
    found = set(tree_of(answer))
    assert {(LONG[0],), (LONG[0], 1), (LONG[0], 1, 2)} == found, "one path, and what goes on behind it"
    drafter = ModelDrafter(Engine(MODEL), "small", plan=Plan(Said(7, 8)))
    answer = proposal(drafter, judged(8, until))
    assert set(tree_of(answer)) == {(LONG[0],), (LONG[0], 8), (7,), (7, 8)}
    assert answer.tokens[0] == LONG[0], "the model's own stand first"
    assert answer.features is None
    assert (
        len(proposal(ModelDrafter(Engine(MODEL), "m", plan=Plan(Said(7, 8))), judged(2, until)).tokens) == 2
    )


def test_unlikely_guesses_are_left_out() -> None:
    drafter = ModelDrafter(Engine(MODEL), "small", plan=Plan(Said(7, 8, score=0.2), floor=0.3))
    answer = proposal(drafter, judged(3))
    assert answer.tokens == LONG[: len(answer.tokens)]
    assert min(answer.scores) >= 0.3


def test_scores_follow_what_became_of_guesses() -> None:
    drafter = ModelDrafter(Engine(MODEL), "small")
    scores = []
    for right in (True, False):
        for _ in range(40):
            drafter.receive(Close("s"))
            answer = proposal(drafter, judged(1))
            follows = LONG[0] if right else 0
            proposal(drafter, Draft("s", 0, len(TEXT), [follows], 1), opened=True)
            scores.append(answer.scores[0])
    assert scores[0] == pytest.approx(0.75)
    assert scores[39] > 0.9
    assert scores[-1] < 0.6


def test_what_follows_a_wrong_guess_says_nothing() -> None:
    drafter = planned(MODEL)
    first = proposal(drafter, judged(3))
    before = sum(drafter._hits._tried)
    spoken = [*first.tokens[:1], 0, first.tokens[2]]
    proposal(drafter, Draft("s", 0, len(TEXT), spoken, 1), opened=True)
    assert sum(drafter._hits._tried) == before + 2, "one right, one wrong"


def test_the_verifier_says_what_else_it_saw_and_the_drafter_learns_it() -> None:
    judge = Verifier(Engine(MODEL), "large")
    judge.receive(Open("s", 0, COLD))
    judge.receive(Consult("s", 0, 0, TEXT, [5, 6, 7], [-1, -1, 0], successors=True))
    (verdict,) = judge.step()
    assert isinstance(verdict, Verdict)
    assert [row[0] for row in verdict.successors] == [TEXT[-1], 5, 6, 7]
    for path, row in zip([[], [5], [6], [5, 7]], verdict.successors, strict=True):
        logits = torch.tensor(draft_reference.logits(MODEL, [*TEXT, *path]))
        assert row[1:] == logits.topk(8).indices.tolist()
    drafter = ModelDrafter(Engine(MODEL), "small", plan=Plan(ensemble("recycling"), model=False))
    assert drafter.hello().successors
    draft = Draft("s", 0, 0, [*TEXT, 5], 3, judged=True, successors=verdict.successors)
    assert proposal(drafter, draft).tokens[0] == verdict.successors[1][1]
    assert not ModelDrafter(Engine(MODEL), "small").hello().successors


def test_a_session_that_ends_leaves_nothing() -> None:
    drafter = planned(MODEL, "lookup", "recycling")
    proposal(drafter, judged(4))
    drafter.receive(Draft("s", 0, len(TEXT), [1], 4, judged=True))
    drafter.receive(Close("s"))
    assert not drafter.busy
    held = [drafter._growers, drafter._free, drafter._guessed]
    assert [len(each) for each in held] == [0, 0, 0]
    assert (drafter.hello().sessions, drafter.hello().cached_tokens) == (0, 0)
