"""Scripts that ask engines what comes next, many of them in each step."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.messages import Sampling

WIDTH = 32  # scripts at a time; more gain nothing on a CPU
CHUNK = 256  # tokens of unread texts that a step reads beside


@dataclass(frozen=True)
class Ask:
    """What follows a text? It may go on from the last one that the same engine was asked about, or fall back
    to a beginning of it: only what is new is computed."""

    text: Sequence[int]
    engine: int = 0  # of those that play
    features: bool = False  # with what the engine's head says, if it has one


Result = TypeVar("Result")
Script = Generator[Ask, Outcome, Result]


def play(
    engines: Sequence[Engine], scripts: Iterable[Script[Result]], width: int = WIDTH
) -> Iterator[tuple[int, Result]]:
    """Each script's place and result, as they end; greedy, so many scripts at a time."""
    waiting = enumerate(scripts)
    playing: dict[int, Script[Result]] = {}
    asks: list[dict[int, Ask]] = [{} for _ in engines]  # by script
    texts: list[dict[int, Sequence[int]]] = [{} for _ in engines]  # last asked about

    def asked(at: int, ask: Ask) -> None:
        engine, last = engines[ask.engine], texts[ask.engine].get(at)
        if last is None:
            engine.open(str(at), Sampling())
            engine.adopt(str(at), ask.text)
        else:
            agreed = min(_agreed(last, ask.text), len(ask.text) - 1)
            engine.truncate(str(at), min(agreed, engine.length(str(at))))
        texts[ask.engine][at] = ask.text
        asks[ask.engine][at] = ask

    while True:
        while len(playing) < width and (begun := next(waiting, None)):
            at, script = begun
            try:
                asked(at, next(script))
            except StopIteration as ended:  # nothing to ask
                yield at, ended.value
                continue
            playing[at] = script
        if not playing:
            return
        # The longest line first: the others grow meanwhile, and a step of many costs little more.
        engine, mine = max(zip(engines, asks, strict=True), key=lambda each: len(each[1]))
        works = list(_works(engine, mine))
        for work, outcome in zip(works, engine.step(works), strict=True):
            if not outcome.tokens:
                continue
            at = int(work.session)
            del mine[at]
            try:
                asked(at, playing[at].send(outcome))
            except StopIteration as ended:
                for each, said in zip(engines, texts, strict=True):
                    each.close(work.session)
                    said.pop(at, None)
                del playing[at]
                yield at, ended.value


def continued(prompt: Sequence[int], ends: Sequence[int], most: int) -> Script[list[int]]:
    """What follows a prompt, up to an end token, which is its last, or so many."""
    text = list(prompt)
    while len(text) < len(prompt) + most:
        outcome = yield Ask(text)
        text = [*text, *outcome.tokens]
        if text[-1] in ends:
            break
    return text[len(prompt) :]


def _works(engine: Engine, asks: dict[int, Ask]) -> Iterator[Work]:
    """What everybody lacks: long texts as far as a step reaches."""
    left = CHUNK
    for at, ask in asks.items():
        new = ask.text[engine.length(str(at)) :]
        if len(new) > 1 and left <= 0:
            continue
        part = new if len(new) == 1 else new[:left]
        left -= len(part) if len(new) > 1 else 0
        whole = len(part) == len(new)
        seen = ask.features and whole
        yield Work(str(at), part, answers=int(whole), features=seen, doubts=seen)


def _agreed(old: Sequence[int], new: Sequence[int]) -> int:
    """How many tokens both begin with."""
    count = min(len(old), len(new))
    if old[:count] == new[:count]:
        return count
    return next(i for i in range(count) if old[i] != new[i])
