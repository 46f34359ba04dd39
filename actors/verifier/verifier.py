"""The verifier: the large model judging proposals of many sessions in one forward pass."""

from ringroad.actors.engine.engine import Outcome, Work
from ringroad.actors.engine.tenant import Task, Tenant
from ringroad.actors.messages import Consult, Verdict
from ringroad.actors.verifier.acceptance import accept

SUCCESSORS = 8  # of each judged token, for drafters that learn from them


class Verifier(Tenant[Consult]):
    """Answers a Consult with a Verdict."""

    role = "verifier"
    question = Consult

    def _work(self, task: Task[Consult]) -> Work:
        """What the cache lacks of the text, then the guesses behind it."""
        consult = task.ask
        new = self._new(consult.session)
        parents = None
        if consult.parents:
            own = len(new)
            parents = [*range(-1, own - 1), *(own + parent for parent in consult.parents)]
        return Work(
            consult.session,
            [*new, *consult.guesses],
            parents,
            answers=len(consult.guesses) + 1,
            successors=SUCCESSORS if consult.successors else 0,
            logprobs=True,
        )

    def _answer(self, task: Task[Consult], work: Work, outcome: Outcome) -> Verdict:
        consult = task.ask
        path, token = accept(outcome.tokens, consult.guesses, consult.parents, consult.trusted)
        own = len(work.tokens) - len(consult.guesses)
        self._engine.keep(consult.session, [*range(own), *(own + node for node in path)])
        self._held[consult.session].text += [*(consult.guesses[node] for node in path), token]
        judged = work.tokens[own - 1 :]
        seen = [[after, *row] for after, row in zip(judged, outcome.successors, strict=False)]
        rows = [0, *(node + 1 for node in path)] if outcome.logprobs else []
        said = [outcome.logprobs[row] for row in rows]
        return Verdict(
            consult.session, consult.epoch, task.length, path, token, task.seconds, task.took, seen, said
        )
