"""A small and a large model in one process, joined by a rule with probabilities instead of shared noise.

Lossless in distribution: a text is drawn as the large model draws it, but it is another text than
`large` mode's, and it changes with rule, widths and drafter. Reproducible for the same ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ringroad.actors.chance import Chance, Dice, Distribution
from ringroad.actors.drafts import DRAFTS, ROOT
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Sampling
from ringroad.actors.verifier.acceptance import RULES, walk

SESSION = "probabilistic"


@dataclass
class Tree:
    """A proposal, and what the small model says after the committed text and each inner guess."""

    guesses: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    drafted: list[Distribution] = field(default_factory=list)  # rows [vocabulary]: root, then guesses


@dataclass(frozen=True)
class Generated:
    """A text, and what it cost."""

    tokens: list[int]
    consults: int
    drafted: int  # guesses
    accepted: int  # of them; those behind an end included


class Probabilistic:
    """One session at a time on a drafter's engine and a verifier's of the same vocabulary."""

    def __init__(
        self,
        drafter: Engine,
        verifier: Engine,
        rule: str = "recursive",
        widths: Sequence[int] = (3, 1, 1),
        drafts: str = "",
    ) -> None:
        """`widths`: of each level of a proposal, as the kind of drafts means it (actors/drafts.py).

        `drafts`: empty for the rule's usual ones. Raises ValueError for a rule there is not, for
        drafts that the rule is not for, and for a width below 1.
        """
        if rule not in RULES:
            raise ValueError(f"no rule {rule!r}; there are {', '.join(RULES)}")
        known = RULES[rule].drafts
        if (drafts or known[0]) not in known:
            raise ValueError(f"rule {rule!r} judges drafts {', '.join(known)}; not {drafts!r}")
        if min(widths, default=1) < 1:
            raise ValueError(f"widths {list(widths)}: each must be at least 1")
        self._drafter, self._verifier = drafter, verifier
        self._judge, self._grow, self._widths = RULES[rule].judge, DRAFTS[drafts or known[0]], list(widths)

    def generate(
        self, prompt: Sequence[int], sampling: Sampling, max_tokens: int, ends: Iterable[int] = ()
    ) -> Generated:
        """Generates up to `max_tokens` (at least 1) after `prompt` (not empty), to the first of `ends`."""
        text, stop, ends = list(prompt), len(prompt) + max_tokens, set(ends)
        consults = drafted = accepted = 0
        for engine in (self._drafter, self._verifier):
            engine.open(SESSION, sampling)
        while len(text) < stop and ends.isdisjoint(text[len(prompt) :]):
            chance = Dice(sampling.seed, len(text))
            tree = self._propose(text, stop - len(text) - 1, chance)
            path, token = self._verify(text, tree, chance)
            text += [*(tree.guesses[node] for node in path), token]
            consults, drafted, accepted = consults + 1, drafted + len(tree.guesses), accepted + len(path)
        for engine in (self._drafter, self._verifier):
            engine.close(SESSION)
        return Generated(_until(text[len(prompt) :], ends), consults, drafted, accepted)

    def _propose(self, text: Sequence[int], depth: int, chance: Chance) -> Tree:
        """Level by level; each is a pass over the whole tree, whose nodes the cache could not keep."""
        tree, level, start = Tree(), [ROOT], -1
        for width in self._widths[:depth]:
            q = _rows(self._drafter, text, tree, len(level))
            self._drafter.truncate(SESSION, len(text))
            tree.drafted += list(q)
            grown = self._grow(level, q, width, chance)
            tree.parents += [start + node.parent for node in grown]
            start, level = len(tree.guesses), grown
            tree.guesses += [node.token for node in grown]
        return tree

    def _verify(self, text: Sequence[int], tree: Tree, chance: Chance) -> tuple[list[int], int]:
        own = len(text) - self._verifier.length(SESSION)
        p = _rows(self._verifier, text, tree, 1 + len(tree.guesses))
        path, token = walk(self._judge, tree.guesses, tree.parents, list(p), tree.drafted, chance)
        self._verifier.keep(SESSION, [*range(own), *(own + node for node in path)])
        return path, token


def _rows(engine: Engine, text: Sequence[int], tree: Tree, count: int) -> Distribution:
    """What a model says after the last `count` of the text's end and the guesses: [count, vocabulary]."""
    new = text[engine.length(SESSION) :]
    own = len(new)
    parents = [*range(-1, own - 1), *(own + parent for parent in tree.parents)]
    work = Work(SESSION, [*new, *tree.guesses], parents, answers=count, distributions=True)
    rows = engine.step([work])[0].distributions
    assert rows is not None
    wide: Distribution = rows.double().cpu().numpy()
    wide /= wide.sum(-1, keepdims=True)  # fp32 sums to 1 but for 1e-7
    return wide


def _until(tokens: Sequence[int], ends: Iterable[int]) -> list[int]:
    stop = next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[:stop])
