"""From odds to a verdict: rolls the dice of a rule from the root of a proposal down."""

from collections.abc import Sequence

from ringroad.actors.chance import Chance, Distribution
from ringroad.actors.verifier.acceptance.odds import Judge


def walk(
    judge: Judge,
    guesses: Sequence[int],
    parents: Sequence[int],
    p: Sequence[Distribution],
    q: Sequence[Distribution],
    chance: Chance,
) -> tuple[list[int], int]:
    """The path of guesses that stay and the token after it: recovered, or bonus after a leaf.

    Row 0 of p [1 + guesses, vocabulary] is what the large model says after the committed text, row
    1 + i what it says after guess i and its ancestors; rows of q are the small model's, and may end
    with those of the last guess that has children. Siblings stand in the order of drafting. Path and
    token are distributed as the large model's own text if the rule is the one for these drafts, and
    `chance` independent of them.
    """
    path: list[int] = []
    here = [-1]  # guesses that say the same after the same text; independent drafts repeat themselves
    while True:
        row = here[0] + 1
        children = [i for i, parent in enumerate(parents) if parent in here]
        if not children:
            return path, chance.token(p[row])
        odds = judge(p[row], q[row], [guesses[i] for i in children])
        fates = zip(children, odds.accept, strict=True)
        kept = next((child for child, stays in fates if chance.happens(stays)), None)
        if kept is None:
            return path, chance.token(odds.recovered)
        path.append(kept)
        here = [i for i in children if guesses[i] == guesses[kept]]
