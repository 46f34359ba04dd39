"""What requests change in a step's logits, by each row's text: what stood before the step, and its path."""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ringroad.actors.engine.work import Work
from ringroad.actors.grammars import Form
from ringroad.actors.messages import Shaping
from ringroad.kernels.shaping import shaped


def shapes(
    work: Work, text: Sequence[int], shaping: Shaping, logits: Sequence[Tensor], form: Form | None = None
) -> Iterator[Tensor]:
    """The logits [vocabulary] fp32 of a work's answers, as its request wants them.

    text: what stands before the work's tokens. logits: of each answer, in order. form: that it keeps to.
    Raises ValueError where that takes more than its limits.
    """
    counts = shaping.repetition != 1.0 or shaping.presence != 0.0 or shaping.frequency != 0.0
    prompt = set(text[: shaping.prompt]) if counts else set()
    said = Counter(text[shaping.prompt :]) if counts else Counter()
    first = len(work.tokens) - work.answers
    for node, row in enumerate(logits, first):
        path = path_to(work, node)
        begun = max(0, shaping.prompt - len(text))  # tokens of the path that are still the prompt's
        length = len(text) + len(path) - shaping.prompt  # of the answer so far
        answer = [*text[shaping.prompt :], *path[begun:]] if form is not None else []
        allowed = form.allowed(answer) if form is not None and length >= 0 else None
        yield shaped(
            row,
            bias=dict(shaping.bias),
            repetition=shaping.repetition,
            presence=shaping.presence,
            frequency=shaping.frequency,
            prompt=prompt.union(path[:begun]) if counts else (),
            answer=said + Counter(path[begun:]) if counts else {},
            barred=shaping.late if length < shaping.least else (),
            allowed=None if allowed is None else torch.from_numpy(allowed),
        )


def path_to(work: Work, node: int) -> list[int]:
    """The tokens of a work that lead to one of them, that one included."""
    if work.parents is None:
        return list(work.tokens[: node + 1])
    path: list[int] = []
    while node >= 0:
        path.append(work.tokens[node])
        node = work.parents[node]
    return path[::-1]
