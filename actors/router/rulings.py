"""Heads that are processes apart: what drafters have seen goes to them, and what they rule comes back.

The drafter does not wait. A ruling that asks for the large model ends its draft there and then: the guesses
up to that one are the proposal, and what the drafter says behind it is stale when it comes. A proposal whose
rulings are still to come waits for them, but not for long: a session goes on without a head.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec import structs

from ringroad.actors.messages import Draft, Features, Message, Proposal, Ruling, Seen
from ringroad.actors.router.members import Address
from ringroad.actors.router.policies import RULES, Scope, kept, wants_head

log = logging.getLogger(__name__)

Send = Callable[[Address, Message], None]
PATIENCE = 1.0  # seconds that a proposal waits for rulings; a head takes a thousandth of that


@dataclass
class Pending:
    """A draft that a head judges."""

    draft: Draft
    head: Address
    length: int  # of the text that is drafted for
    tokens: list[int] = field(default_factory=list)
    seen: Features = field(default_factory=lambda: Features([], []))
    doubts: list[float] = field(default_factory=list)  # of the first tokens
    proposal: Proposal | None = None
    since: float = 0.0  # when that came

    def concerns(self, message: Seen | Ruling | Proposal) -> bool:
        """Whether it is about this draft and no earlier one."""
        return (message.epoch, message.length) == (self.draft.epoch, self.length)

    @property
    def answer(self) -> Proposal | None:
        """What the session may go on with, as soon as that is known."""
        count, until = len(self.doubts), self.draft.until
        if until is None:
            return self.proposal
        if RULES[until.name].scope is Scope.TOKEN:
            doubted = kept(until, self._judged(self.seen, count), count)
            if doubted < count:
                return self._until(doubted + 1)
        if self.proposal is None or self.proposal.features is None:
            return self.proposal
        wanted = len(self.proposal.tokens)
        if count < wanted:
            return None
        return structs.replace(self.proposal, features=self._judged(self.proposal.features, wanted))

    def _until(self, count: int) -> Proposal:
        draft, tokens = self.draft, self.tokens[:count]
        return Proposal(draft.session, draft.epoch, self.length, tokens, [], self._judged(self.seen, count))

    def _judged(self, seen: Features, count: int) -> Features:
        told = seen.margin, seen.entropy, seen.top, seen.coin, self.doubts
        return Features(*(column[:count] for column in told))


class Rulings:
    """Of all sessions. What it returns are proposals that sessions may go on with."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._heads: dict[Address, bool] = {}  # whether each answers
        self._pending: dict[str, Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def met(self, head: Address) -> None:
        """A head is there."""
        self._heads[head] = True

    def lost(self, head: Address) -> list[Proposal]:
        """A head is gone."""
        self._heads.pop(head, None)
        return self._without(head)

    def drafted(self, draft: Draft, length: int) -> Draft:
        """A draft to be sent for a text of `length` tokens; where a head will judge it, with sights."""
        self.forget(draft.session)
        head = min((head for head, answers in self._heads.items() if answers), default=None)
        if head is None or draft.judged or not wants_head(draft.until):
            return draft
        self._pending[draft.session] = Pending(draft, head, length)
        return structs.replace(draft, sights=True)

    def saw(self, seen: Seen) -> None:
        """Hands over to the head what a drafter saw."""
        pending = self._pending.get(seen.session)
        if pending is None or not pending.concerns(seen) or seen.first != len(pending.tokens):
            return
        pending.tokens += seen.tokens
        told, more = pending.seen, seen.features
        pending.seen = Features(
            told.margin + more.margin, told.entropy + more.entropy, told.top + more.top, told.coin + more.coin
        )
        self._send(pending.head, seen)

    def ruled(self, head: Address, ruling: Ruling) -> Proposal | None:
        """What a head says."""
        if head in self._heads:
            self._heads[head] = True
        pending = self._pending.get(ruling.session)
        if pending is None or not pending.concerns(ruling):
            return None
        if not ruling.doubts:  # it could not say
            del self._pending[ruling.session]
            return pending.proposal
        if ruling.first == len(pending.doubts):
            pending.doubts += ruling.doubts
        return self._settled(pending)

    def proposed(self, proposal: Proposal, now: float) -> Proposal | None:
        """A drafter's proposal, which has to wait where rulings are to come."""
        pending = self._pending.get(proposal.session)
        if pending is None or not pending.concerns(proposal):
            return proposal
        pending.proposal, pending.since = proposal, now
        return self._settled(pending)

    def overdue(self, now: float) -> list[Proposal]:
        """Those that have waited too long: their heads are asked nothing until they answer again."""
        late = {each.head for each in self._pending.values() if each.proposal and now - each.since > PATIENCE}
        for head in late:
            self._heads[head] = False
        return [proposal for head in sorted(late) for proposal in self._without(head)]

    def forget(self, session: str) -> None:
        """Nothing is drafted for it any more."""
        self._pending.pop(session, None)

    def _settled(self, pending: Pending) -> Proposal | None:
        answer = pending.answer
        if answer is not None:
            self.forget(pending.draft.session)
        return answer

    def _without(self, head: Address) -> list[Proposal]:
        """What waits for a head goes on without; what is still being drafted will."""
        left = [each for each in self._pending.values() if each.head == head]
        for each in left:
            self.forget(each.draft.session)
        if left:
            log.warning("%d drafts go on without a head's rulings", len(left))
        return [each.proposal for each in left if each.proposal is not None]
