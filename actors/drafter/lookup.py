"""Drafting without a model: what followed the last few tokens when they stood in the text before.

Prompt lookup decoding (Saxena 2023). Good where answers quote their prompts; costs nothing.
"""

from dataclasses import dataclass, field

from ringroad.actors.messages import Close, Draft, Forgotten, Hello, Message, Open, Proposal, Welcome
from ringroad.actors.texts import Behind, follow

LONGEST = 4  # tokens that must repeat; fewer are tried down to one
Gram = tuple[int, ...]


@dataclass
class Held:
    """A session's committed text, and where each of its n-grams was last followed by something."""

    epoch: int
    text: list[int] = field(default_factory=list)
    indexed: int = 0  # tokens of the text that are in `follows`
    follows: dict[Gram, int] = field(default_factory=dict)


class LookupDrafter:
    """A plain role: messages in through `receive`, answers out of `step`."""

    def __init__(self) -> None:
        self._router = ""
        self._held: dict[str, Held] = {}
        self._outbox: list[Message] = []

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._outbox)

    def hello(self) -> Hello:
        """Who this is, and how full."""
        return Hello(role="drafter", sessions=len(self._held))

    def receive(self, message: Message) -> None:
        """Takes in one message from the router."""
        match message:
            case Open(session=session, epoch=epoch):
                self._held[session] = Held(epoch)
            case Draft():
                self._outbox.append(self._propose(message))
            case Close(session=session):
                self._held.pop(session, None)
            case Welcome(router=router) if router != self._router:
                self._router = router
                self._held.clear()

    def step(self) -> list[Message]:
        """The proposals made since the last step."""
        answers, self._outbox = self._outbox, []
        return answers

    def rescue(self) -> list[Message]:
        """Nothing here waits over a step."""
        return []

    def _propose(self, draft: Draft) -> Message:
        held = self._held.get(draft.session)
        try:
            if held is None or held.epoch != draft.epoch:
                raise Behind
            follow(held.text, draft.base, draft.tokens)
        except Behind:
            return Forgotten(draft.session, draft.epoch)
        guesses = look_up(held, draft.budget)
        return Proposal(draft.session, draft.epoch, len(held.text), guesses, [])


def look_up(held: Held, budget: int) -> list[int]:
    """Up to `budget` tokens that followed the longest repeated end of the text; none if none repeats."""
    text = held.text
    for end in range(held.indexed, len(text)):
        for size in range(1, min(LONGEST, end) + 1):
            held.follows[tuple(text[end - size : end])] = end
    held.indexed = len(text)
    for size in range(min(LONGEST, len(text)), 0, -1):
        at = held.follows.get(tuple(text[-size:]))
        if at is not None:
            return text[at : at + budget]
    return []
