"""The tokens after all rows of a step at once, on the device: only small integers and chances leave it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ringroad.actors.engine.siblings import SHARERS, Asked, Siblings
from ringroad.kernels.ranking import ranked
from ringroad.kernels.sampling import Survey
from ringroad.kernels.triton.batch import Draws, Guesses
from ringroad.kernels.triton.floors import floors
from ringroad.kernels.triton.select import Kernels


def siblings(logits: Tensor, seen: Survey, asked: Sequence[Asked], kernels: Kernels) -> list[Siblings]:
    """As `siblings.siblings`; of `seen` only rows at temperature 0 that ask for siblings are read."""
    lowest = _floors(logits, asked)
    drawn = kernels.verdicts(logits, _draws(asked, lowest), _roots(len(asked), logits.device)).drawn
    found: list[Siblings] = [[(token, 1.0)] for token in drawn.tolist()]
    warm: list[int] = []
    for row, (sampling, _, count) in enumerate(asked):
        if count > 1 and sampling.temperature > 0:
            warm.append(row)
        elif count:
            pairs = zip(seen.ids[row, :count].tolist(), seen.chances[row, :count].tolist(), strict=True)
            found[row] = list(pairs) if sampling.temperature == 0 else found[row]
    if warm:
        mine = [asked[row] for row in warm]
        noisy = kernels.noisy(logits[warm], _draws(mine, lowest[warm]))
        for row, beside in zip(warm, _shared(noisy, mine), strict=True):
            found[row] = beside
    return found


def _shared(noisy: Tensor, asked: Sequence[Asked]) -> list[Siblings]:
    """The best of scores with noise [rows, vocabulary], and how they share the chances."""
    most = max(each.siblings for each in asked) + SHARERS
    ids, totals = (best.cpu() for best in ranked(noisy, min(most, noisy.shape[1])))
    found: list[Siblings] = []
    for row, (sampling, _, count) in enumerate(asked):
        left = int((totals[row] > -math.inf).sum())  # by truncation
        chances = torch.softmax(sampling.temperature * totals[row, : min(left, count + SHARERS)], 0)
        found.append(list(zip(ids[row, : min(left, count)].tolist(), chances[:count].tolist(), strict=True)))
    return found


def _floors(logits: Tensor, asked: Sequence[Asked]) -> Tensor:
    """`Draws.floors` [rows] fp32, on the logits' device."""
    device = logits.device
    least = _tensor([math.log(s.min_p) if s.min_p > 0 else -math.inf for s, _, _ in asked], device)
    if all(s.top_k == 0 and s.top_p == 1.0 for s, _, _ in asked):
        return least
    temperatures = _tensor([s.temperature for s, _, _ in asked], device)
    top_k = torch.tensor([s.top_k for s, _, _ in asked]).to(device)
    return floors(logits, temperatures, top_k, _tensor([s.top_p for s, _, _ in asked], device), least)


def _draws(asked: Sequence[Asked], lowest: Tensor) -> Draws:
    device = lowest.device
    keys, positions = zip(*(each.noise for each in asked), strict=True)
    seeds = torch.tensor(keys, dtype=torch.uint64)
    return Draws(
        seeds=seeds.to(device),
        streams=torch.zeros_like(seeds).to(device),
        positions=torch.tensor(positions).to(device),
        temperatures=_tensor([s.temperature for s, _, _ in asked], device),
        floors=lowest,
    )


def _roots(rows: int, device: torch.device) -> Guesses:
    """Nothing guessed: every row is the root of its own tree."""
    nobody = torch.full((rows,), -1, dtype=torch.int32, device=device)
    return Guesses(torch.arange(rows + 1, dtype=torch.int32, device=device), nobody, nobody, most_rows=1)


def _tensor(numbers: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32).to(device)
