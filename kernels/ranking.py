"""The best of rows of scores, and which of equals: for a whole batch at once, on any device."""

import torch
from torch import Tensor

LOW = 2**32 - 1


def ranked(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Ids and scores of the k largest of scores [rows, vocabulary], any float dtype, the lowest id of equals
    first: [rows, k] int64 and fp32. No score may be NaN."""
    # topk does not promise which of several equals it names, and bf16 logits do tie. So no two are equal:
    # above stands an integer that orders as the number does, below the ids from the last to the first.
    wide = scores.float() + 0.0  # -0.0 is 0.0
    whole = wide.view(torch.int32)
    order = (whole ^ (whole >> 31 & 0x7FFFFFFF)).long()
    ids = torch.arange(scores.shape[-1], device=scores.device)
    best = (order << 32 | LOW - ids).topk(k, dim=-1).values
    found = LOW - (best & LOW)
    return found, wide.gather(-1, found)
