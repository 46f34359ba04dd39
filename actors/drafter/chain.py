"""The small model's guesses one after another: what it would say itself."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import mul

from ringroad.actors.drafter.hits import Hits
from ringroad.actors.drafter.passes import Guess, Read, behind_text
from ringroad.actors.drafter.tree import NOTHING, Tree, chain
from ringroad.actors.engine.engine import Outcome, Work
from ringroad.actors.messages import Draft, Features
from ringroad.actors.router.policies import Decision, decide
from ringroad.actors.verifier.acceptance import accept

Helper = Callable[[Sequence[int], int], Tree]
UNSEEN = 10  # the kind of a guess whose margin nobody asked for
SECOND = 11  # the kind of a second choice, where the first was wrong
BELIEVED = [*((1 + (kind + 0.5) / UNSEEN) / 2 for kind in range(UNSEEN)), 0.75, 0.45]


def unhelped(text: Sequence[int], room: int) -> Tree:
    """No guesses: the small model takes a pass for each token."""
    return NOTHING


class Chain:
    """A chain, a guess a pass; or several, where a helper's guesses are what the small model says.

    Those are checked as the verifier checks ours: two levels of speculation, the same rule. Beside each
    guess its second choice may stand, a leaf: it costs no pass, and noise that both models share makes
    it the likeliest word of the large model where the first choice is wrong.
    """

    def __init__(
        self, draft: Draft, hits: Hits, helper: Helper = unhelped, second_choices: bool = False
    ) -> None:
        """`hits`: how often guesses of each margin stay, made of BELIEVED."""
        self._draft = draft
        self._beside = second_choices
        self._hits = hits
        self._helper = helper
        self._help = NOTHING
        self._own = 0
        self._tokens: list[int] = []
        self._second: list[int] = []
        self._margin: list[float] = []
        self._entropy: list[float] = []

    @property
    def features(self) -> Features | None:
        """What was seen of each guess, where the draft has a rule to be stopped by."""
        return None if self._draft.until is None else Features(self._margin, self._entropy)

    @property
    def guesses(self) -> list[Guess]:
        """Each, with its place in BELIEVED."""
        if self._draft.until is None:
            return [(token, UNSEEN) for token in self._tokens]
        kinds = (min(int(margin * UNSEEN), UNSEEN - 1) for margin in self._margin)
        return list(zip(self._tokens, kinds, strict=True))

    @property
    def second(self) -> list[int]:
        """The second choice at each guess, where they are asked for."""
        return self._second

    @property
    def stem(self) -> Tree:
        """The guesses with their chances to stay."""
        return chain(self._tokens, list(accumulate(self._shares(), mul)))

    @property
    def tree(self) -> Tree:
        """The stem, and the second choices beside it."""
        stem = self.stem
        reach = [1.0, *stem.scores]
        missed = [reach[i] * (1.0 - share) for i, share in enumerate(self._shares())]
        return Tree(
            [*stem.tokens, *self._second],
            [*stem.parents, *range(-1, len(self._second) - 1)],
            [*stem.scores, *(chance * self._hits.share(SECOND) for chance in missed[: len(self._second)])],
        )

    def _shares(self) -> list[float]:
        return [self._hits.share(kind) for _, kind in self.guesses]

    def work(self, text: Sequence[int], new: Sequence[int]) -> Work:
        """What to compute: what is `new` of the text, and a helper's guesses behind it."""
        draft = self._draft
        self._own, self._help = len(new), self._helper(text, draft.budget - len(self._tokens) - 1)
        parents = None if self._help.is_chain else behind_text(len(new), self._help.parents)
        tokens = [*new, *self._help.tokens]
        return Work(
            draft.session,
            tokens,
            parents,
            answers=len(self._help) + 1,
            features=draft.until is not None,
            siblings=2 if self._beside else 0,
        )

    def read(self, outcome: Outcome) -> Read:
        """The guesses of a pass, up to the first that the draft's rule doubts."""
        path, token = accept(outcome.tokens, self._help.tokens, self._help.parents)
        said = [*(self._help.tokens[node] for node in path), token]
        count, done = len(said), False
        rows = [0, *(node + 1 for node in path)]
        if self._draft.until is not None and outcome.features is not None:
            seen = Features(
                [outcome.features.margin[row] for row in rows],
                [outcome.features.entropy[row] for row in rows],
            )
            doubts = (i for i in range(count) if decide(self._draft.until, seen, i) is Decision.CONSULT)
            first = next(doubts, None)
            count, done = (count, False) if first is None else (first + 1, True)
            self._margin += seen.margin[:count]
            self._entropy += seen.entropy[:count]
        self._tokens += said[:count]
        if self._beside:
            self._second += [outcome.siblings[row][-1][0] for row in rows[:count]]
        kept = [*range(self._own), *(self._own + node for node in path[:count])]
        return Read(kept, said[:count], done or len(self._tokens) >= self._draft.budget)
