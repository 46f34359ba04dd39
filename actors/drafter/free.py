"""A drafter without a model: strategies alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ringroad.actors.drafter.strategy import Ensemble, Strategy
from ringroad.actors.messages import Close, Draft, Forgotten, Hello, Message, Open, Proposal, Welcome
from ringroad.actors.texts import Behind, follow


@dataclass
class Held:
    """A session's committed text."""

    epoch: int
    text: list[int] = field(default_factory=list)


class FreeDrafter:
    """A plain role: messages in through `receive`, answers out of `step`."""

    def __init__(self, strategies: Sequence[Strategy], floor: float = 0.0) -> None:
        """`floor`: guesses less likely than this are left out."""
        self._strategies = Ensemble(strategies, floor)
        self._router = ""
        self._held: dict[str, Held] = {}
        self._outbox: list[Message] = []

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return self.asked

    @property
    def asked(self) -> bool:
        """Whether somebody waits for that."""
        return bool(self._outbox)

    def hello(self) -> Hello:
        """Who this is, how full, and what it learns from."""
        return Hello(role="drafter", sessions=len(self._held), successors=self._strategies.learns)

    def receive(self, message: Message) -> None:
        """Takes in one message from the router."""
        match message:
            case Open(session=session, epoch=epoch, salt=salt):
                self._held[session] = Held(epoch)
                self._strategies.begin(session, salt)
            case Draft():
                self._outbox.append(self._propose(message))
            case Close(session=session):
                self._drop(session)
            case Welcome(router=router) if router != self._router:
                self._router = router
                for session in list(self._held):
                    self._drop(session)

    def step(self) -> list[Message]:
        """The proposals made since the last step."""
        answers, self._outbox = self._outbox, []
        return answers

    def rescue(self) -> list[Message]:
        """Nothing here waits over a step."""
        return []

    def _drop(self, session: str) -> None:
        self._held.pop(session, None)
        self._strategies.forget(session)

    def _propose(self, draft: Draft) -> Message:
        held = self._held.get(draft.session)
        try:
            if held is None or held.epoch != draft.epoch:
                raise Behind
            follow(held.text, draft.base, draft.tokens)
        except Behind:
            return Forgotten(draft.session, draft.epoch)
        self._strategies.observe(draft.session, held.text)
        self._strategies.learn(draft.session, draft.successors)
        tree = self._strategies.propose(draft.session, held.text, draft.budget)
        parents = [] if tree.is_chain else list(tree.parents)
        return Proposal(
            draft.session,
            draft.epoch,
            len(held.text),
            list(tree.tokens),
            parents,
            scores=list(tree.scores),
        )
