"""What a step's logits say, read where they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ringroad.actors.engine import batched
from ringroad.actors.engine.siblings import Asked, Siblings, siblings, unread
from ringroad.actors.messages import Features
from ringroad.kernels.coin import coin
from ringroad.kernels.head import TOPS, Head, Sight
from ringroad.kernels.sampling import Survey, survey
from ringroad.kernels.triton.select import Kernels


@dataclass(frozen=True)
class Rows:
    """What there is to know of rows that want an answer."""

    asked: Sequence[Asked]
    seen: Survey
    found: Sequence[Siblings]  # of each row its token, and the siblings that it asks for
    sight: Sight | None = None
    doubts: Sequence[float] = ()  # what a head says of each; 0 where nobody asks

    def of(self, at: slice) -> "Rows":
        """Some rows alone."""
        sight = None if self.sight is None else self.sight.rows(at)
        return Rows(self.asked[at], self.seen.rows(at), self.found[at], sight, self.doubts[at])

    @property
    def tokens(self) -> list[int]:
        """What follows each row."""
        return [beside[0][0] for beside in self.found]

    def looked_at(self, hidden: Tensor) -> "Rows":
        """With the sight of them, of hidden states [rows, width]. The survey must reach down to TOPS."""
        tops = self.seen.logits[:, :TOPS]
        return replace(self, sight=Sight(hidden.bfloat16(), tops, torch.tensor(self.tokens)))

    def judged(self, head: Head, wanted: Sequence[bool]) -> "Rows":
        """With what a head says of those that want it, all in one call."""
        if self.sight is None or not any(wanted):
            return self
        rows = [row for row, each in enumerate(wanted) if each]
        said = dict(zip(rows, head.doubts(self.sight.rows(rows)).tolist(), strict=True))
        return replace(self, doubts=[said.get(row, 0.0) for row in range(len(wanted))])

    def features(self, doubts: bool) -> Features:
        """What the rules of routers look at; with `doubts` also what a head says, if one was asked."""
        return Features(
            self.seen.margin.tolist(),
            self.seen.entropy.tolist(),
            self.seen.chances[:, 0].tolist(),
            [coin(each.sampling.seed, each.position) for each in self.asked],
            list(self.doubts) if doubts else [],
        )


def read(logits: Tensor, asked: Sequence[Asked], likeliest: int, kernels: Kernels | None) -> Rows:
    """What rows of logits [rows, vocabulary] say, surveyed down to their `likeliest` tokens, on the CPU.
    Rows are surveyed where somebody wants to know."""
    if kernels is None:
        greedy = any(each.sampling.temperature == 0.0 for each in asked)
        seen = survey(logits, max(2, likeliest)) if greedy or likeliest else unread(len(logits))
        return Rows(asked, seen, siblings(logits, seen, asked))
    seen = survey(logits, likeliest) if likeliest else unread(len(logits))
    return Rows(asked, seen, batched.siblings(logits, seen, asked, kernels))
