"""How far the guesses of a proposal get: running chances, of a session and of all together."""

from dataclasses import dataclass, field

NO_NEWS = 0.7  # the chance of a guess before anything is known


@dataclass
class Chain:
    """The chance that position i of a chain is reached, given that the one before it was.

    Each is a mean over decayed trials, drawn towards what is expected of it elsewhere: in `parent`,
    or where there is none at the position before.
    """

    memory: float  # weight of what is known, after one more proposal
    parent: "Chain | None" = None
    trust: float = 5.0  # trials that the expectation counts for
    hope: float = 0.0  # successes added: to stop guessing is dear to undo, so it takes evidence
    _hits: list[float] = field(default_factory=list)
    _trials: list[float] = field(default_factory=list)

    def observe(self, reached: int, allowed: int) -> None:
        """A chain that could have been `allowed` long ended after `reached`."""
        if self.parent is not None:
            self.parent.observe(reached, allowed)
        self.fade(self.memory)
        missing = allowed - len(self._trials)
        self._hits += [0.0] * missing
        self._trials += [0.0] * missing
        for i in range(min(reached + 1, allowed)):
            self._trials[i] += 1.0
            self._hits[i] += i < reached

    def fade(self, weight: float) -> None:
        """Makes all that is known count for less."""
        self._hits = [hits * weight for hits in self._hits]
        self._trials = [trials * weight for trials in self._trials]

    def chances(self, count: int) -> list[float]:
        """Of each of the first `count` positions."""
        elsewhere = self.parent.chances(count) if self.parent is not None else None
        found: list[float] = []
        for i in range(count):
            expected = elsewhere[i] if elsewhere is not None else found[-1] if found else NO_NEWS
            hits, trials = (self._hits[i], self._trials[i]) if i < len(self._trials) else (0.0, 0.0)
            found.append((hits + self.hope + self.trust * expected) / (trials + self.hope + self.trust))
        return found

    def reach(self, count: int) -> list[float]:
        """The chance that the chain gets to each of the first `count` positions."""
        reached, so_far = [], 1.0
        for chance in self.chances(count):
            so_far *= chance
            reached.append(so_far)
        return reached
