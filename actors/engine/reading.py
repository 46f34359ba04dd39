"""What a step's logits say, read where they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ringroad.actors.engine import batched
from ringroad.actors.engine.siblings import Asked, Siblings, siblings, unread
from ringroad.actors.messages import Features
from ringroad.kernels.coin import coin
from ringroad.kernels.head import TOPS, Head, Sight
from ringroad.kernels.sampling import Survey, survey, together
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

    def looked_at(self, hidden: Tensor, seen: Survey) -> "Rows":
        """With the sight of them: hidden states [rows, width], and the survey down to TOPS of what the model
        itself says, which is what heads have learnt from."""
        tops = seen.logits[:, :TOPS]
        return replace(self, sight=Sight(hidden.bfloat16(), tops, torch.tensor(self.tokens)))

    def judged(self, head: Head, wanted: Sequence[bool]) -> "Rows":
        """With what a head says of those that want it, all in one call."""
        if self.sight is None or not any(wanted):
            return self
        if all(wanted):
            return replace(self, doubts=head.doubts(self.sight).tolist())
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


def read_shaped(
    logits: Tensor,
    shapes: Mapping[int, Tensor],
    asked: Sequence[Asked],
    likeliest: int,
    kernels: Kernels | None,
) -> Rows:
    """As `read`, but some rows of logits are others, `shapes` of them [vocabulary] fp32; what is said of the
    rest has the bits that it has without these."""
    if not shapes:
        return read(logits, asked, likeliest, kernels)
    plain = [row for row in range(len(asked)) if row not in shapes]
    order = torch.tensor([*plain, *shapes]).argsort()
    likeliest = max(2, likeliest)  # both parts surveyed, as deep as each other
    parts = [read(torch.stack([*shapes.values()]), [asked[row] for row in shapes], likeliest, kernels)]
    if plain:
        parts.insert(0, read(logits[plain], [asked[row] for row in plain], likeliest, kernels))
    found = [each for part in parts for each in part.found]
    return Rows(
        asked, together([part.seen for part in parts]).rows(order), [found[at] for at in order.tolist()]
    )
