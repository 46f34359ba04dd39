"""One draft at a time: what tests of a drafter with a model share."""

from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.tree import Tree
from ringroad.actors.engine.engine import Engine
from ringroad.actors.messages import Draft, Message, Open, Policy, Proposal, Sampling
from tests.engine.tiny import prompt, tiny
from tests.roles.drafting import paths

MODEL = tiny()
TEXT = prompt(20)
COLD, WARM = Sampling(1), Sampling(5, 0.8)
SAMPLINGS = [COLD, WARM, Sampling(6, 1.2, top_k=30, top_p=0.95)]


def proposal(role: ModelDrafter, draft: Draft, sampling: Sampling = WARM, opened: bool = False) -> Proposal:
    if not opened:
        role.receive(Open("s", 0, sampling))
    role.receive(draft)
    answers: list[Message] = []
    while role.busy:
        answers += role.step()
    (answer,) = answers
    assert isinstance(answer, Proposal)
    assert answer.length == draft.base + len(draft.tokens)
    return answer


def judged(budget: int, until: Policy | None = None) -> Draft:
    return Draft("s", 0, 0, TEXT, budget, until, judged=True)


def tree_of(answer: Proposal) -> dict[tuple[int, ...], float]:
    parents = answer.parents or list(range(-1, len(answer.tokens) - 1))
    return paths(Tree(answer.tokens, parents, answer.scores))


class Counted(Engine):
    """Counts its steps and their rows."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.rows: list[int] = []

    def step(self, batch):  # type: ignore[no-untyped-def]
        self.rows += [len(work.tokens) for work in batch]
        return super().step(batch)
