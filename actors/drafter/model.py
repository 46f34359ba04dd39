"""Drafting with the small model: a chain of its own coupled tokens."""

from ringroad.actors.engine.engine import Outcome, Work
from ringroad.actors.engine.tenant import Task, Tenant
from ringroad.actors.messages import Draft, Features, Proposal
from ringroad.actors.router.policies import Decision, decide


class ModelDrafter(Tenant[Draft]):
    """Answers a Draft with a Proposal, a guess a step."""

    role = "drafter"
    question = Draft

    def _work(self, task: Task[Draft]) -> Work:
        """What the cache lacks of the text: at first the news from the router, then the last guess."""
        session = task.ask.session
        return Work(session, self._new(session), features=task.ask.until is not None)

    def _answer(self, task: Task[Draft], work: Work, outcome: Outcome) -> Proposal | None:
        draft = task.ask
        task.guesses += outcome.tokens
        self._held[draft.session].text += outcome.tokens
        stop = len(task.guesses) >= draft.budget
        seen = None
        if draft.until is not None and outcome.features is not None:
            task.margin += outcome.features.margin
            task.entropy += outcome.features.entropy
            seen = Features(task.margin, task.entropy)
            stop = stop or decide(draft.until, outcome.features, 0) is Decision.CONSULT
        if not stop:
            return None
        return Proposal(draft.session, draft.epoch, task.length, task.guesses, [], seen, task.seconds)
