"""What a step's logits say, read where they are."""

from collections.abc import Sequence

from torch import Tensor

from ringroad.actors.engine import batched
from ringroad.actors.engine.siblings import Asked, Siblings, siblings, unread
from ringroad.kernels.sampling import Survey, survey
from ringroad.kernels.triton.select import Kernels


def read(
    logits: Tensor, asked: Sequence[Asked], likeliest: int, kernels: Kernels | None
) -> tuple[Survey, list[Siblings]]:
    """The survey of rows of logits [rows, vocabulary] down to their `likeliest` tokens, on the CPU, and for
    each row its token, with the siblings it asks for. Rows are surveyed where somebody wants to know."""
    if kernels is None:
        greedy = any(each.sampling.temperature == 0.0 for each in asked)
        seen = survey(logits, max(2, likeliest)) if greedy or likeliest else unread(len(logits))
        return seen, siblings(logits, seen, asked)
    seen = survey(logits, likeliest) if likeliest else unread(len(logits))
    return seen, batched.siblings(logits, seen, asked, kernels)
