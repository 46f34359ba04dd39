"""Greedy texts of many prompts on one engine: as many at a time as a step carries well."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Sampling

WIDTH = 32  # sessions of a step; more gain nothing on a CPU
CHUNK = 256  # tokens of prompts that a step reads beside


def speak(
    engine: Engine, prompts: Iterable[Sequence[int]], ends: Sequence[int], most: Sequence[int] | int
) -> Iterator[tuple[int, list[int]]]:
    """Each prompt's place and its continuation, at most `most` tokens, as they end: the end token is its last.

    What prompts begin with alike is computed once (`Engine.adopt`).
    """
    waiting = enumerate(prompts)
    texts: dict[int, list[int]] = {}
    lengths: dict[int, int] = {}
    while True:
        for at, prompt in islice(waiting, WIDTH - len(texts)):
            texts[at], lengths[at] = list(prompt), len(prompt)
            engine.open(str(at), Sampling())
            engine.adopt(str(at), texts[at])
        if not texts:
            return
        works = list(_works(engine, texts))
        for work, outcome in zip(works, engine.step(works), strict=True):
            at = int(work.session)
            texts[at] += outcome.tokens
            said = len(texts[at]) - lengths[at]
            limit = most if isinstance(most, int) else most[at]
            if said and (texts[at][-1] in ends or said >= limit):
                engine.close(work.session)
                yield at, texts.pop(at)[lengths.pop(at) :]


def _works(engine: Engine, texts: dict[int, list[int]]) -> Iterator[Work]:
    """What everybody lacks, prompts as far as a step reaches."""
    left = CHUNK
    for at, text in texts.items():
        new = text[engine.length(str(at)) :]
        if len(new) > 1 and left <= 0:
            continue
        part = new if len(new) == 1 else new[:left]
        left -= len(part) if len(new) > 1 else 0
        yield Work(str(at), part, answers=int(len(part) == len(new)))
