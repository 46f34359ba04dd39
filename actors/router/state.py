"""Where a session stands: facts, and what follows from them alone."""

import msgspec
from msgspec.structs import replace

from ringroad.actors.messages import Counts, Finish, Logprob, Mode, Policy
from ringroad.actors.router.policies import RULES, Scope

DRAFTER, VERIFIER, HEAD = "drafter", "verifier", "head"
NOTHING = Counts()
SOON = 32  # tokens that are read in a pass or two


class Peer(msgspec.Struct, frozen=True):
    """What a session knows of the drafter or verifier it works with."""

    there: bool = False
    epoch: int = -1  # counts openings; -1: never opened
    has: int | None = None  # leading committed tokens it holds; None: to be opened first


class State(msgspec.Struct, frozen=True):
    """Of one session. The tokens themselves are with the hub; here are only their counts."""

    mode: Mode
    length: int  # committed tokens, the prompt's included
    limit: int  # length at which the text ends
    ends: frozenset[int]
    budget: int  # guesses per proposal
    policy: Policy  # for routed mode
    until: Policy | None  # where drafting for speculation stops early
    drafter: Peer
    verifier: Peer
    breaks: frozenset[int] = frozenset()  # tokens that end a step
    head: bool = False  # a learned head is to judge
    asked: str | None = None  # the role whose answer the session waits for
    guesses: tuple[int, ...] = ()  # under judgement
    parents: tuple[int, ...] = ()
    trusted: tuple[int, ...] = ()  # of the guesses those that stay in any case
    logprobs: tuple[Logprob, ...] = ()  # of the guesses, the small model's, where they are asked for
    held: int = 0  # the first so many stand behind the text that the drafter holds
    silent: bool = False  # where all guesses stay, the next word is not the large model's
    handed: bool = False  # the large model has the word until the step or text ends
    dropped: tuple[int, ...] = ()  # what a draft that was not kept says from here on
    losses: int = 0  # of verifiers at work on the session, since the last verdict
    most_losses: int = 3  # at so many it ends
    counts: Counts = NOTHING
    finish: Finish | None = None

    @property
    def scope(self) -> Scope:
        """What the session's rule decides at once."""
        return RULES[self.policy.name].scope if self.mode is Mode.ROUTED else Scope.TOKEN

    @property
    def judged(self) -> bool:
        """Whether every guess goes to the large model."""
        return self.mode is Mode.SPECULATIVE or self.handed

    @property
    def stops(self) -> frozenset[int]:
        """Tokens after which guesses are of no use."""
        return self.ends | self.breaks if self.scope is Scope.STEP else self.ends

    @property
    def room(self) -> int:
        """How many guesses to ask for now; 0 where the large model speaks next by itself."""
        if self.mode is Mode.LARGE or not self.drafter.there:
            return 0
        left = self.limit - self.length
        if self.judged:
            return min(self.budget, left - 1)  # a verdict always adds a token of its own
        return left if self.scope is not Scope.TOKEN else min(self.budget, left)

    @property
    def soon(self) -> bool:
        """Whether an answer is there soon, once it is asked for: nobody has a prompt to read first."""
        return self.asked is not None and self.length - (self.peer(self.asked).has or 0) <= SOON

    @property
    def suspect(self) -> bool:
        """Whether another loss would end the session: it may be what verifiers die of."""
        return 0 < self.losses == self.most_losses - 1

    @property
    def rule(self) -> Policy:
        """The policy, with what was spoken so far where a share is to be held."""
        if self.policy.share is None:
            return self.policy
        large = self.counts.large + self.counts.accepted
        return replace(self.policy, spoken=large + self.counts.kept, large=large)

    def peer(self, role: str) -> Peer:
        """The drafter or the verifier."""
        return self.drafter if role == DRAFTER else self.verifier

    def with_peer(self, role: str, peer: Peer) -> "State":
        """The same with another drafter or verifier."""
        return replace(self, drafter=peer) if role == DRAFTER else replace(self, verifier=peer)

    def degraded(self, role: str) -> "State":
        """The same without a role; each is named once."""
        if role in self.counts.degraded:
            return self
        counts = replace(self.counts, degraded=[*self.counts.degraded, role])
        return replace(self, counts=counts)

    def counted(self, **more: int) -> "State":
        """The same with so many more of these `Counts`."""
        sums = {name: getattr(self.counts, name) + count for name, count in more.items()}
        return replace(self, counts=replace(self.counts, **sums))
