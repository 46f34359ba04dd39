"""What a model says of tokens, before a request changes anything in it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ringroad.actors.messages import Logprob
from ringroad.kernels.sampling import survey


def logprobs(logits: Tensor, tokens: Sequence[int], count: int) -> list[Logprob]:
    """Of rows of logits [rows, vocabulary], as the model said them, and the token after each: its logarithm
    of probability, with the `count` likeliest tokens and theirs."""
    seen = survey(logits, max(1, count))
    mine = logits[torch.arange(len(tokens)), torch.tensor(tokens)].float().cpu() - seen.log_sum
    likeliest = (seen.logits - seen.log_sum.unsqueeze(1))[:, :count]
    rows = zip(mine.tolist(), seen.ids[:, :count].tolist(), likeliest.tolist(), strict=True)
    return [Logprob(*row) for row in rows]
