"""Drafting with the small model, and with strategies that need none before, beside and below it."""

from collections.abc import Sequence

from msgspec import structs

from ringroad.actors.drafter.branches import Branches
from ringroad.actors.drafter.chain import BELIEVED, SECOND, Chain
from ringroad.actors.drafter.hits import Hits
from ringroad.actors.drafter.passes import Grower, Guess
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.drafter.tree import NOTHING, Tree, behind, merge
from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.engine.tenant import Task, Tenant
from ringroad.actors.messages import Draft, Features, Hello, Proposal


class ModelDrafter(Tenant[Draft]):
    """Answers a Draft with a Proposal."""

    role = "drafter"
    question = Draft

    def __init__(
        self,
        engine: Engine,
        model: str,
        prefill_chunk: int = 256,
        step_tokens: int = 256,
        *,
        plan: Plan | None = None,
    ) -> None:
        super().__init__(engine, model, prefill_chunk, step_tokens)
        self._ways = plan or Plan()
        self._hits = Hits(BELIEVED)
        self._growers: dict[str, Grower] = {}
        self._free: dict[str, Tree] = {}  # what the strategies propose
        # The text's length before the last chain, its guesses and their second choices.
        self._guessed: dict[str, tuple[int, Sequence[Guess], Sequence[int]]] = {}

    def hello(self) -> Hello:
        """Who this is, how full, and what it learns from."""
        return structs.replace(super().hello(), successors=self._ways.free.learns)

    def _take(self, ask: Draft) -> None:
        super()._take(ask)
        task = self._tasks.get(ask.session)
        if task is None or task.ask is not ask:
            return  # forgotten
        text = self._held[ask.session].text
        self._look_back(ask.session, text)
        free = self._ways.free
        free.observe(ask.session, text)
        free.learn(ask.successors)
        found = free.propose(ask.session, text, ask.budget) if ask.judged else NOTHING
        if ask.judged and (found.expected >= self._ways.enough or not self._ways.model):
            del self._tasks[ask.session]
            self._outbox.append(_proposal(task, found))
            return
        self._free[ask.session] = found
        self._growers[ask.session] = self._grower(ask)

    def _drop(self, session: str) -> None:
        super()._drop(session)
        self._ways.free.forget(session)
        for held in (self._growers, self._free, self._guessed):
            held.pop(session, None)

    def _grower(self, draft: Draft) -> Grower:
        ways = self._ways
        if draft.judged and ways.shape is not None:
            return Branches(draft, ways.shape, ways.passes)
        second = draft.judged and ways.second_choices
        if not ways.two_levels:
            return Chain(draft, self._hits, second_choices=second)
        return Chain(
            draft, self._hits, lambda text, room: ways.free.propose(draft.session, text, room), second
        )

    def _work(self, task: Task[Draft]) -> Work:
        """What the cache lacks of the text, and what is to be read behind it."""
        session = task.ask.session
        return self._growers[session].work(self._held[session].text, self._new(session))

    def _answer(self, task: Task[Draft], work: Work, outcome: Outcome) -> Proposal | None:
        session = task.ask.session
        grower = self._growers[session]
        read = grower.read(outcome)
        if len(read.kept) < len(work.tokens):
            self._engine.keep(session, read.kept)
        self._held[session].text += read.text
        if not read.done:
            return None
        if not task.ask.judged:
            return _proposal(task, grower.tree, grower.features)
        self._guessed[session] = task.length, grower.guesses, grower.second
        tree = self._merged(task.ask, grower.tree)
        same = list(tree.tokens) == list(grower.tree.tokens)
        return _proposal(task, tree, grower.features if same else None)

    def _merged(self, draft: Draft, own: Tree) -> Tree:
        """What the model guesses, what the strategies do, and how they would go on from its chain."""
        ways, found = self._ways, self._free[draft.session]
        stem = self._growers[draft.session].stem
        room = draft.budget - len(stem)
        further = NOTHING
        if room > 0 and ways.shape is None:
            further = behind(stem, ways.free.propose(draft.session, self._held[draft.session].text, room))
        # Second choices take no pass, so they may come on top of what was asked for.
        return merge([own, found, further], draft.budget + len(own) - len(stem), ways.floor)

    def _look_back(self, session: str, text: list[int]) -> None:
        """Learns from the text how often guesses of each kind stay."""
        length, guesses, second = self._guessed.pop(session, (0, [], []))
        for i, spoken in enumerate(text[length : length + len(guesses)]):
            token, kind = guesses[i]
            self._hits.saw(kind, token == spoken)
            if token != spoken:
                if i < len(second):
                    self._hits.saw(SECOND, second[i] == spoken)
                return  # what follows a wrong guess says nothing


def _proposal(task: Task[Draft], tree: Tree, features: Features | None = None) -> Proposal:
    draft = task.ask
    return Proposal(
        draft.session,
        draft.epoch,
        task.length,
        list(tree.tokens),
        [] if tree.is_chain else list(tree.parents),
        features,
        task.seconds,
        task.took,
        list(tree.scores),
    )
