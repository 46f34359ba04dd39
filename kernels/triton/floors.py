"""Truncation for a batch at once: the lowest score that each row may draw. In torch, on any device."""

import math

import torch
from torch import Tensor

UNIT = 2.0**40  # of probability mass, in integers: their sum does not depend on its order


def floors(logits: Tensor, temperatures: Tensor, top_k: Tensor, top_p: Tensor, least: Tensor) -> Tensor:
    """`Draws.floors` [rows] fp32 of logits [rows, vocabulary], which keep to `sampling.truncate` but for
    the rounding of a nucleus' mass. A row of temperature 0 is not truncated.

    temperatures, top_p, least [rows] fp32 and top_k [rows] int64 on the logits' device; least: log(min_p).
    """
    wide = logits.float()
    scale = torch.where(temperatures > 0, temperatures, 1.0).unsqueeze(1)
    best = ((wide - wide.amax(-1, keepdim=True)) / scale).sort(-1, descending=True).values
    last = best.gather(1, (top_k.clamp(1, best.shape[1]) - 1).unsqueeze(1)).squeeze(1)
    floor = torch.where(top_k > 0, last, -math.inf)
    floor = torch.where(top_p < 1, _nucleus(best, floor, top_p), floor)
    floor = torch.maximum(floor, least)
    return torch.where(temperatures > 0, floor, -math.inf)


def _nucleus(best: Tensor, floor: Tensor, top_p: Tensor) -> Tensor:
    """The lowest score of the smallest set of the best, none below `floor`, whose mass reaches top_p."""
    mass = torch.where(best >= floor.unsqueeze(1), best.double().exp() * UNIT, 0.0).long().cumsum(-1)
    reached = mass >= mass[:, -1:] * top_p.double().unsqueeze(1)
    return best.gather(1, reached.int().argmax(-1, keepdim=True)).squeeze(1)
