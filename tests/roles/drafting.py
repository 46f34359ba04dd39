"""Drafters to choose from, and what tests of drafting share."""

from collections.abc import Sequence

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter import shapes, strategies
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.drafter.strategy import Ensemble, Strategy
from ringroad.actors.drafter.tree import Tree
from ringroad.actors.engine.engine import Engine
from ringroad.actors.engine.model import Model
from ringroad.actors.messages import Chunk, Submit
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.verifier.verifier import Verifier
from tests import reference


def ensemble(*names: str, floor: float = 0.0) -> Ensemble:
    return Ensemble([strategies.make(name) for name in names], floor)


def planned(small: Model, /, *names: str, tree: str = "", **options: object) -> ModelDrafter:
    """A drafter with a model, these strategies, and a shape where there is one."""
    shape = shapes.make(tree) if tree else None
    return ModelDrafter(Engine(small), "small", plan=Plan(ensemble(*names), shape=shape, **options))


def generated(submit: Submit, large: Model, drafter: Role) -> list[Chunk]:
    return Colocated(RouterConfig(), Verifier(Engine(large), "large"), drafter).generate(submit)["s"]


def paths(tree: Tree) -> dict[tuple[int, ...], float]:
    """Each node's tokens from the root, with its score; asserts that the tree is one."""
    assert len(tree.tokens) == len(tree.parents) == len(tree.scores)
    assert all(-1 <= parent < node for node, parent in enumerate(tree.parents))
    found = {
        tuple(tree.tokens[n] for n in reference.ancestors(tree.parents, node)): tree.scores[node]
        for node in range(len(tree))
    }
    assert len(found) == len(tree), "siblings differ"
    for node, parent in enumerate(tree.parents):
        assert 0 <= tree.scores[node] <= (tree.scores[parent] if parent >= 0 else 1.0)
    return found


def proposed(strategy: Strategy, text: Sequence[int], budget: int = 8, session: str = "s") -> Tree:
    strategy.observe(session, text)
    return strategy.propose(session, text, budget)
