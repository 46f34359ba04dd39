"""Drafting with the small model, and with strategies that need none before, beside and below it."""

from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from ringroad.actors.drafter.ahead import Ahead, likely
from ringroad.actors.drafter.branches import Branches
from ringroad.actors.drafter.chain import BELIEVED, SECOND, Chain
from ringroad.actors.drafter.hits import Hits
from ringroad.actors.drafter.idle import Idle
from ringroad.actors.drafter.passes import Grower, Guess
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.drafter.tree import NOTHING, Tree, behind, merge
from ringroad.actors.drafter.vocabulary import frequent
from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.engine.schedule import FEWEST
from ringroad.actors.engine.tenant import Task, Tenant
from ringroad.actors.messages import Draft, Features, Hello, Logprob, Message, Open, Proposal, Seen
from ringroad.actors.texts import alike


class ModelDrafter(Tenant[Draft]):
    """Answers a Draft with a Proposal.

    A Draft may want likely outcomes of its verdict prepared: then, while nobody asks, the drafter reads on
    behind what it has proposed (`ahead.py`). Where the next Draft's text is one of these, so much of the
    answer is there already. Nothing is prepared behind trees of `shapes/`, and where the model was not asked.
    """

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
        self._idle = Idle(engine, self._held, step_tokens)

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        return self.asked or self._idle.busy

    def hello(self) -> Hello:
        """Who this is, how full, and what it learns from."""
        return structs.replace(super().hello(), successors=self._ways.free.learns)

    def step(self) -> list[Message]:
        """One forward pass for every question in hand, else one to prepare; the answers there are."""
        if not self.asked:
            self._idle.step()
        return super().step()

    def rescue(self) -> list[Message]:
        """After a step that raised: what was prepared goes, and every question is tried by itself."""
        self._idle.clear()
        return super().rescue()

    def _take(self, ask: Draft) -> None:
        agreed = self._follow(ask)
        if agreed is None:
            self._idle.give_up(ask.session)
            return
        task, text = self._tasks[ask.session], self._held[ask.session].text
        ahead = self._idle.take(ask.session)
        self._engine.settle(ask.session, task.length)
        self._look_back(ask.session, text)
        answer = self._offhand(task, text, ahead)
        known = agreed if ahead is None else ahead.agreeing(text, agreed)
        # What nobody judges is text: it follows from all of the text before it.
        self._roll_back(ask.session, known if ask.judged else min(known, self._engine.whole(ask.session)))
        if answer is not None:
            del self._tasks[ask.session]
            self._outbox.append(answer)

    def _offhand(self, task: Task[Draft], text: list[int], ahead: Ahead | None) -> Proposal | None:
        """The answer, where it takes no pass."""
        ask, free = task.ask, self._ways.free
        free.observe(ask.session, text)
        free.learn(ask.session, ask.successors)
        found = free.propose(ask.session, text, ask.budget) if ask.judged else NOTHING
        if ask.judged and (found.expected >= self._ways.enough or not self._ways.model):
            return self._proposal(task, found)
        self._free[ask.session] = found
        grower = self._growers[ask.session] = self._grower(ask)
        # What is not judged is the model's own word, which what is prepared need not be.
        while ask.judged and ahead is not None and (outcome := ahead.next(text)) is not None:
            read = grower.read(outcome)
            text += read.text
            if read.done:
                return self._finished(task)
        return None

    def _opened(self, begun: Open) -> None:
        super()._opened(begun)
        self._ways.free.begin(begun.session, begun.salt)

    def _drop(self, session: str) -> None:
        super()._drop(session)
        self._idle.take(session)
        self._ways.free.forget(session)
        for held in (self._growers, self._free, self._guessed):
            held.pop(session, None)

    def _grower(self, draft: Draft) -> Grower:
        ways = self._ways
        if draft.judged and ways.shape is not None:
            return Branches(draft, ways.shape, ways.passes)
        second = draft.judged and (ways.second_choices or draft.outcomes > 0)
        if not ways.two_levels:
            return Chain(draft, self._hits, second_choices=second)
        return Chain(
            draft, self._hits, lambda text, room: ways.free.propose(draft.session, text, room), second
        )

    def _work(self, task: Task[Draft]) -> Work:
        """What the cache lacks of the text, and what is to be read behind it."""
        session = task.ask.session
        text = self._held[session].text
        work = self._growers[session].work(text, self._new(session))
        return replace(work, vocabulary=frequent(text, self._ways.vocabulary)) if task.ask.judged else work

    def _plan(self, tasks: list[Task[Draft]]) -> list[Work]:
        """Guesses may come of a part of the text. The text itself is read whole, for all who begin like it,
        unless the plan says otherwise."""
        return [replace(work, partial=self._partial(work.session)) for work in super()._plan(tasks)]

    def _partial(self, session: str) -> bool:
        few = self._ways.prompt_in_part or len(self._new(session)) <= FEWEST
        return few and self._tasks[session].ask.judged

    def _answer(self, task: Task[Draft], work: Work, outcome: Outcome) -> Proposal | None:
        session = task.ask.session
        grower = self._growers[session]
        read = grower.read(outcome)
        if len(read.kept) < len(work.tokens):
            self._engine.keep(session, read.kept)
        if read.sight is not None and read.features is not None:
            first = len(self._held[session].text) - task.length
            told = session, task.ask.epoch, task.length, first, read.text
            self._outbox.append(Seen(*told, read.features, read.sight.pack()))
        self._held[session].text += read.text
        return self._finished(task) if read.done else None

    def _finished(self, task: Task[Draft]) -> Proposal:
        """The answer of a grower that is done."""
        draft, session = task.ask, task.ask.session
        grower = self._growers[session]
        if not draft.judged:
            return self._proposal(task, grower.tree, grower.features, grower.logprobs)
        self._guessed[session] = task.length, grower.guesses, grower.second
        alone = self._ways.shape is None and not self._ways.second_choices
        own = grower.stem if alone else grower.tree
        tree = self._merged(draft, own)
        self._prepare(task, tree)
        same = list(tree.tokens) == list(own.tokens)
        return self._proposal(task, tree, grower.features if same else None)

    def _prepare(self, task: Task[Draft], tree: Tree) -> None:
        """Has what is likely to come after the verdict on a proposal read in idle time."""
        draft, grower = task.ask, self._growers[task.ask.session]
        if not draft.outcomes or self._ways.shape is not None:
            return
        stem = grower.stem.tokens
        read = {tuple(stem[:i]): words for i, words in enumerate(zip(stem, grower.second, strict=False))}
        lines = likely(tree, read, self._hits.mean, self._hits.share(SECOND), draft.outcomes)
        room = self._engine.model.shape.context - task.length
        ids = frequent(self._held[draft.session].text, self._ways.vocabulary)
        self._idle.begin(draft.session, Ahead(draft, task.length, lines, room, ids))

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

    def _proposal(
        self,
        task: Task[Draft],
        tree: Tree,
        features: Features | None = None,
        logprobs: Sequence[Logprob] = (),
    ) -> Proposal:
        draft, guesses = task.ask, list(tree.tokens)
        own = self._held[draft.session].text[task.length :]
        return Proposal(
            draft.session,
            draft.epoch,
            task.length,
            guesses,
            [] if tree.is_chain else list(tree.parents),
            features,
            task.seconds,
            task.took,
            list(tree.scores),
            list(logprobs),
            held=alike(guesses, own),
        )
