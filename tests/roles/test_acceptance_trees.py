"""Whole trees, over all drafts and all dice: the text is distributed as the large model's own."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest

from ringroad.actors.chance import Chance, Dice, Distribution
from ringroad.actors.drafts import DRAFTS, ROOT, Grow, Node
from ringroad.actors.verifier.acceptance import RULES, walk
from ringroad.actors.verifier.acceptance.coupled import accept
from tests import reference
from tests.kernels.test_distribution import DOUBT, doubt
from tests.roles.every_way import every_way
from tests.roles.test_acceptance_rules import distribution

EXACT = 1e-12
Language = dict[tuple[int, ...], Distribution]  # what follows a text
LENGTH = 3  # a path of two guesses and the bonus token


def language(vocabulary: int, seed: int, zeros: int = 0) -> Language:
    rng = np.random.default_rng(seed)
    texts = [text for length in range(LENGTH) for text in product(range(vocabulary), repeat=length)]
    return {text: distribution(rng, vocabulary, zeros) for text in texts}


def one_after_another(_level: Sequence[Node], q: Distribution, width: int, chance: Chance) -> list[Node]:
    """Without replacement, by the book: the oracle of Gumbel-top-k."""
    nodes = []
    for i, row in enumerate(q):
        left = row.copy()
        for _ in range(min(width, int((row > 0).sum()))):
            token = chance.token(left / left.sum())
            nodes.append(Node(token, i))
            left[token] = 0.0
    return nodes


def said(rule: str, grow: Grow, widths: Sequence[int], p: Language, q: Language, chance: Chance) -> list[int]:
    """The tokens of one round: drafts a tree and walks it."""
    texts: list[tuple[int, ...]] = [()]
    parents: list[int] = []
    level, start = [ROOT], 0
    for width in widths:
        grown = grow(level, np.array([q[text] for text in texts[start:]]), width, chance)
        parents += [start + node.parent - 1 for node in grown]
        texts, start = [*texts, *((*texts[start + n.parent], n.token) for n in grown)], len(texts)
        level = grown
    guesses = [text[-1] for text in texts[1:]]
    drafted = [q[text] for text in texts[:start]]
    path, token = walk(RULES[rule].judge, guesses, parents, [p[text] for text in texts], drafted, chance)
    for before, node in zip([-1, *path], path, strict=False):
        assert texts[1 + node][:-1] == texts[1 + before]
    return [*(guesses[node] for node in path), token]


def law_of(run: Callable[[Chance], list[int]], p: Language, vocabulary: int) -> dict[tuple[int, ...], float]:
    """The distribution of the first LENGTH tokens, those after a round spoken by the target."""
    law = dict.fromkeys(product(range(vocabulary), repeat=LENGTH), 0.0)
    for tokens, probability in every_way(run):
        for rest in product(range(vocabulary), repeat=LENGTH - len(tokens)):
            text = (*tokens, *rest)
            law[text] += probability * plainly(p, text, len(tokens))
    return law


def plainly(p: Language, text: tuple[int, ...], start: int = 0) -> float:
    return float(np.prod([p[text[:i]][text[i]] for i in range(start, len(text))]))


GROW = {
    "rejection": DRAFTS["independent"],
    "k_seq": DRAFTS["independent"],
    "point_mass": DRAFTS["likeliest"],
    "recursive": one_after_another,
}
SHAPES = [(2, (1, 1)), (2, (2, 2)), (2, (3, 1)), (3, (1, 2)), (3, (2, 1)), (3, (3,)), (2, (4,)), (2, ())]


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize(("vocabulary", "widths"), SHAPES)
@pytest.mark.parametrize("zeros", [0, 1])
def test_a_trees_text_is_the_targets(rule: str, vocabulary: int, widths: tuple[int, ...], zeros: int) -> None:
    for seed in range(3):
        p, q = language(vocabulary, seed, zeros), language(vocabulary, 100 + seed, zeros * (seed % 2))
        law = law_of(lambda chance, p=p, q=q: said(rule, GROW[rule], widths, p, q, chance), p, vocabulary)
        assert sum(law.values()) == pytest.approx(1, abs=EXACT)
        assert max(abs(found - plainly(p, text)) for text, found in law.items()) < EXACT


def test_the_wrong_draft_distribution_is_noticed() -> None:
    p, q, other = (language(2, seed) for seed in (0, 1, 2))

    def run(chance: Chance) -> list[int]:
        mixed = {text: other[text] if text else q[text] for text in q}
        level = one_after_another([ROOT], np.array([other[()]]), 1, chance)
        guess = level[0].token
        rows = [p[()], p[(guess,)]]
        path, token = walk(RULES["rejection"].judge, [guess], [-1], rows, [mixed[()]], chance)
        return [*([guess] if path else []), token]

    law = law_of(run, p, 2)
    assert max(abs(found - plainly(p, text)) for text, found in law.items()) > 1e-3


def test_equal_siblings_lend_each_other_their_children() -> None:
    """Independent drafts that begin alike all go on where one of them was kept (SpecTr)."""
    sure = np.array([1.0, 0.0])
    rows = [sure, sure, sure, sure, sure]
    path, token = walk(RULES["k_seq"].judge, [0, 0, 0], [-1, -1, 1], rows, rows, Dice(0, 0))
    assert (path, token) == ([0, 2], 0)


@pytest.mark.parametrize("drafts", ["without_replacement", "beam"])
@pytest.mark.parametrize("width", [2, 3])
def test_trees_of_gumbel_noise_and_dice(drafts: str, width: int) -> None:
    """With real dice, which cannot be enumerated: a chi-square of the first two tokens."""
    p, q = language(3, 7), language(3, 8)
    texts = list(product(range(3), repeat=2))
    found = []
    for seed in range(3_000):
        dice = Dice(seed, 5)
        tokens = said("recursive", DRAFTS[drafts], (width, width), p, q, dice)
        while len(tokens) < 2:
            tokens.append(dice.token(p[tuple(tokens)]))
        found.append(texts.index((tokens[0], tokens[1])))
    assert doubt(np.array(found), [plainly(p, text) for text in texts]) > DOUBT
    assert doubt(np.array(found), [plainly(q, text) for text in texts]) < DOUBT


def test_the_oracle_draws_without_replacement() -> None:
    q = np.array([0.5, 0.3, 0.0, 0.2])
    ways = every_way(lambda chance: tuple(n.token for n in one_after_another([ROOT], q[None], 3, chance)))
    found: dict[tuple[int, ...], float] = {}
    for tokens, probability in ways:
        found[tokens] = found.get(tokens, 0.0) + probability
    assert found == pytest.approx(reference.ordered_draws(list(q), 3, replaced=False))


TREES: list[tuple[list[int], list[int]]] = [  # guesses and their parents
    ([], []),
    ([1], [-1]),
    ([0, 1], [-1, 0]),
    ([0, 1, 2], [-1, -1, -1]),
    ([2, 0, 0, 1, 2], [-1, -1, 0, 0, 1]),
    ([1, 1, 0], [-1, 0, -1]),
]


@pytest.mark.parametrize(("guesses", "parents"), TREES)
@pytest.mark.parametrize("zeros", [0, 1])
def test_coupled_texts_have_the_targets_law_whatever_is_guessed(
    guesses: list[int], parents: list[int], zeros: int
) -> None:
    p = language(3, seed=len(guesses), zeros=zeros)
    texts: list[tuple[int, ...]] = [()]
    for token, parent in zip(guesses, parents, strict=True):
        texts.append((*texts[1 + parent], token))

    def run(chance: Chance) -> list[int]:
        path, token = accept([chance.token(p[text]) for text in texts], guesses, parents)
        return [*(guesses[node] for node in path), token]

    for text, probability in law_of(run, p, 3).items():
        assert abs(probability - plainly(p, text)) < EXACT, text
