"""What an engine is asked for in a step, and what it answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ringroad.actors.engine.reading import Rows
from ringroad.actors.engine.siblings import Siblings
from ringroad.actors.messages import Features, Logprob, Sampling
from ringroad.kernels import sampling as draws
from ringroad.kernels.head import Sight


@dataclass(frozen=True)
class Work:
    """New tokens of one session: a chain, or a tree where `parents` says so."""

    session: str
    tokens: Sequence[int]
    parents: Sequence[int] | None = None  # of each token: an earlier one of these, or -1
    answers: int = 1  # how many of the tokens, from the last backwards, want an outcome
    features: bool = False
    doubts: bool = False  # among the features also what the engine's head says, if it has one
    sights: bool = False  # what a head elsewhere is to judge by
    siblings: int = 0  # likeliest next tokens wanted of each answer, its own included
    successors: int = 0  # likeliest tokens wanted of each answer, whatever is drawn
    distributions: bool = False  # answered with what a token is drawn from, in place of a draw
    logprobs: bool = False  # of what is drawn, where the session's request asks
    # The first so many ids are enough to look at, None: all. For guesses: where an answer of the same
    # step needs more, all its answers see as many. The noise of an id is the same in any case.
    vocabulary: int | None = None
    # Whether it may be computed from the part of the text that the engine's view leaves. For guesses; what
    # is kept of them nobody else gets, and nothing but guesses may follow it.
    partial: bool = False


@dataclass(frozen=True)
class Outcome:
    """For each answered token of a Work, in order: the token that follows it, and what was seen."""

    tokens: list[int]
    features: Features | None = None
    siblings: Sequence[Siblings] = ()  # as asked, one for each answer
    successors: Sequence[Sequence[int]] = ()
    # [answers, vocabulary] fp32, after temperature and truncation; never for a wire.
    distributions: Tensor | None = field(default=None, compare=False)
    sights: Sight | None = field(default=None, compare=False)  # goes no further than to a head
    logprobs: Sequence[Logprob] = ()  # of each token


def vocabulary(batch: Sequence[Work]) -> int | None:
    """How many ids the answers of a step need."""
    needed = [work.vocabulary for work in batch if work.answers]
    known = [count for count in needed if count is not None]
    return max(known) if len(known) == len(needed) else None


def outcome(work: Work, rows: Rows, said: Sequence[Logprob] = ()) -> Outcome:
    """Of a Work's answered rows: what was surveyed, the tokens drawn, and what is `said` of these."""
    if not work.answers:
        return Outcome([])
    return Outcome(
        rows.tokens,
        rows.features(work.doubts) if work.features else None,
        rows.found if work.siblings else (),
        rows.seen.ids[:, : work.successors].tolist() if work.successors else (),
        sights=rows.sight if work.sights else None,
        logprobs=said,
    )


def distributions(logits: Iterable[Tensor], sampling: Sampling) -> Tensor:
    """What tokens are drawn from, of rows of logits [vocabulary]: [rows, vocabulary] fp32."""
    rows = [
        draws.distribution(
            row,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
        )
        for row in logits
    ]
    return torch.stack(rows)
