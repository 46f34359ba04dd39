"""The small model's guesses one after another: what it would say itself."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import mul

from ringroad.actors.drafter.hits import Hits
from ringroad.actors.drafter.passes import NOTHING_SEEN, Guess, Read, behind_text, followed, picked
from ringroad.actors.drafter.tree import NOTHING, Tree, chain
from ringroad.actors.engine.engine import Outcome, Work
from ringroad.actors.messages import Draft, Features, Logprob
from ringroad.actors.router.policies import doubtful, wants_head
from ringroad.actors.verifier.acceptance import accept

Helper = Callable[[Sequence[int], int], Tree]
UNSEEN = 10  # the kind of a guess whose margin nobody asked for
SECOND = 11  # the kind of a second choice, where the first was wrong
MOST = 16  # a helper's guesses a pass
BELIEVED = [*((1 + (kind + 0.5) / UNSEEN) / 2 for kind in range(UNSEEN)), 0.75, 0.45]
# Drafting on costs a pass or two a token where it is in vain, and saves a consult where it is not: about
# even at this chance that the large model says the same.
STAYS = 0.65


def _kind(margin: float) -> int:
    return min(int(margin * UNSEEN), UNSEEN - 1)


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
        self._seen = NOTHING_SEEN
        self.logprobs: list[Logprob] = []

    @property
    def features(self) -> Features | None:
        """What was seen of each guess, where the draft has a rule to be stopped by."""
        return None if self._draft.until is None else self._seen

    @property
    def guesses(self) -> list[Guess]:
        """Each, with its place in BELIEVED."""
        if self._draft.until is None:
            return [(token, UNSEEN) for token in self._tokens]
        return list(zip(self._tokens, map(_kind, self._seen.margin), strict=True))

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
        room = min(draft.budget - len(self._tokens) - 1, MOST)
        self._own, self._help = len(new), self._helper(text, room)
        parents = None if self._help.is_chain else behind_text(len(new), self._help.parents)
        tokens = [*new, *self._help.tokens]
        return Work(
            draft.session,
            tokens,
            parents,
            answers=len(self._help) + 1,
            features=draft.until is not None,
            doubts=wants_head(draft.until) and not draft.sights,
            sights=draft.sights,
            siblings=2 if self._beside else 0,
            logprobs=not draft.judged,
        )

    def read(self, outcome: Outcome) -> Read:
        """The guesses of a pass, up to a stop, or a doubt that drafting does not go on behind."""
        path, token = accept(outcome.tokens, self._help.tokens, self._help.parents)
        said = [*(self._help.tokens[node] for node in path), token]
        rows = [0, *(node + 1 for node in path)]
        count, done = self._standing(said, outcome.features, rows)
        rows = rows[:count]
        self._tokens += said[:count]
        self.logprobs += [outcome.logprobs[row] for row in rows] if outcome.logprobs else []
        if self._beside:
            self._second += [outcome.siblings[row][-1][0] for row in rows]
        kept = [*range(self._own), *(self._own + node for node in path[:count])]
        done = done or len(self._tokens) >= self._draft.budget
        if outcome.sights is None or outcome.features is None:
            return Read(kept, said[:count], done)
        seen = picked(outcome.features, rows)
        return Read(kept, said[:count], done, seen, outcome.sights.rows(rows))

    def _goes_on(self, margin: float) -> bool:
        """Whether to draft on behind a doubt: in vain where the large model says another word."""
        # What speculation guesses behind a doubt hardly ever stays (docs/decisions/0005).
        return not self._draft.judged and self._hits.share(_kind(margin)) >= STAYS

    def _standing(self, said: list[int], seen: Features | None, rows: Sequence[int]) -> tuple[int, bool]:
        """How many of a pass's guesses stand, up to the first that is the last one, and whether there is
        such. What was seen of them, `rows` of `seen`, is taken in."""
        stops = (i for i, token in enumerate(said) if token in self._draft.stops)
        stop = next(stops, None)
        count = len(said) if stop is None else stop + 1
        until, start = self._draft.until, len(self._tokens)
        if until is None or seen is None:
            return count, stop is not None
        whole = followed(self._seen, picked(seen, rows[:count]))
        # A head of its own says later what is doubtful, and who is to speak then.
        asks = [] if self._draft.sights else doubtful(until, whole, start + count)
        doubt = next((i for i in asks if i >= start and not self._goes_on(whole.margin[i])), None)
        if doubt is not None:
            count = doubt + 1 - start
        self._seen = picked(whole, range(start + count))
        return count, doubt is not None or stop is not None
