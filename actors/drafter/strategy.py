"""What a way to guess without a model looks like, and several of them together."""

from collections.abc import Sequence

from ringroad.actors.drafter.tree import Tree, merge


class Strategy:
    """Guesses from texts alone. One object serves all sessions of a drafter.

    A subclass in a file of its own under strategies/, which has a `make`, is all that a new one takes.
    """

    learns = False  # whether `learn` has use for the large model's successors

    def begin(self, session: str, salt: bytes) -> None:
        """A session begins, maybe again. What its text teaches is for sessions of the same salt alone, since
        guesses show in a request's usage. A session that was not begun has the empty one."""

    def observe(self, session: str, text: Sequence[int]) -> None:
        """The committed text so far, before every proposal. It grows; only its news may be read."""

    def learn(self, session: str, judged: Sequence[Sequence[int]]) -> None:
        """Rows of a token and, likeliest first, what the large model saw following it."""

    def propose(self, session: str, text: Sequence[int], budget: int) -> Tree:
        """At most `budget` guesses that follow a text: the observed one, and perhaps some guesses."""
        raise NotImplementedError

    def forget(self, session: str) -> None:
        """A session is over."""


class Ensemble(Strategy):
    """Several strategies as one: their proposals merged."""

    def __init__(self, strategies: Sequence[Strategy], floor: float = 0.0) -> None:
        """`floor`: guesses less likely than this are not worth their row in the verifier's step."""
        self._strategies = strategies
        self._floor = floor
        self.learns = any(each.learns for each in strategies)

    def begin(self, session: str, salt: bytes) -> None:
        for each in self._strategies:
            each.begin(session, salt)

    def observe(self, session: str, text: Sequence[int]) -> None:
        for each in self._strategies:
            each.observe(session, text)

    def learn(self, session: str, judged: Sequence[Sequence[int]]) -> None:
        for each in self._strategies:
            each.learn(session, judged)

    def propose(self, session: str, text: Sequence[int], budget: int) -> Tree:
        proposals = [each.propose(session, text, budget) for each in self._strategies]
        return merge(proposals, budget, self._floor)

    def forget(self, session: str) -> None:
        for each in self._strategies:
            each.forget(session)
