"""Slow, obvious twins of what drafters do."""

import math
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from itertools import pairwise

from torch import Tensor

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.siblings import SHARERS
from ringroad.actors.messages import Sampling
from tests import reference

Paths = dict[tuple[int, ...], float]  # a tree: each node's tokens from the root, and its score


def merged(trees: Iterable[Paths], floor: float) -> Paths:
    """The union of trees, a node of several with its highest score; without what is below the floor."""
    found: Paths = {}
    for tree in trees:
        for path, score in tree.items():
            found[path] = max(score, found.get(path, 0.0))
    return {path: score for path, score in found.items() if score >= floor}


def repeats(text: Sequence[int], orders: Sequence[int], places: int, longest: int) -> tuple[list[int], int]:
    """Where a token follows the same words as end the text, and how many words: of the latest places of
    the first gram of `orders` that has any, those where most tokens agree."""
    for order in orders:
        ends = [at for at in range(len(text) - 1, order - 1, -1) if text[at - order : at] == text[-order:]]
        agree = {
            at: max(n for n in range(1, longest + 1) if n <= at and text[at - n : at] == text[-n:])
            for at in ends[:places]
            if len(text) > order
        }
        if agree:
            most = max(agree.values())
            return [at for at, length in agree.items() if length == most], most
    return [], 0


def continued(text: Sequence[int], places: Sequence[int], shares: Sequence[float]) -> Paths:
    """What follows those places, down to len(shares) tokens: a node's score is its part of the places
    (each time of those that came so far) times the shares down to it."""
    found: Paths = {}
    paths = {tuple(text[at : at + n]) for at in places for n in range(1, len(shares) + 1)}
    for path in paths:
        score = 1.0
        for n in range(1, len(path) + 1):
            came = [at for at in places if tuple(text[at : at + n - 1]) == path[: n - 1]]
            same = [at for at in came if tuple(text[at : at + n]) == path[:n]]
            score *= shares[n - 1] * len(same) / len(came)
        found[path] = score
    return found


def successors_in(text: Sequence[int], width: int) -> dict[int, list[int]]:
    """The last `width` different tokens that followed each token, latest first."""
    rows: dict[int, list[int]] = {}
    for before, after in reversed(list(pairwise(text))):
        row = rows.setdefault(before, [])
        if after not in row and len(row) < width:
            row.append(after)
    return rows


def unrolled(rows: dict[int, list[int]], token: int, shares: Sequence[float], depth: int) -> Paths:
    """All paths of rows from a token, each step times the share of the successor's rank."""
    found: Paths = {}
    for successor, share in zip(rows.get(token, []) if depth else [], shares, strict=False):
        found[(successor,)] = share
        for path, score in unrolled(rows, successor, shares, depth - 1).items():
            found[(successor, *path)] = share * score
    return found


def logits(model: Model, text: Sequence[int]) -> list[float]:
    """What a fresh engine's model gives for the token after a text."""
    engine = Engine(model)
    engine.open("plain", Sampling())
    found: list[Tensor] = []
    head, engine.model = model.head, copy(model)
    engine.model.head = lambda rows: found.append(head(rows)) or found[-1]
    engine.step([Work("plain", text)])
    return found[0][-1].tolist()


def siblings(
    logits: Sequence[float], sampling: Sampling, position: int, count: int
) -> list[tuple[int, float]]:
    """The best tokens after noise among those truncation leaves, each with its part of
    reference.softmax(logits + temperature * noise): over all, with noise over the SHARERS next best too."""
    heat = sampling.temperature
    left, noisy = set(range(len(logits))), list(logits)
    if heat:
        left, _ = reference.left_by(
            [x / heat for x in logits], sampling.top_k, sampling.top_p, sampling.min_p
        )
        noisy = [x + heat * reference.noise(sampling.seed, position, i) for i, x in enumerate(logits)]
    ranked = sorted(left, key=lambda i: (-noisy[i], i))
    sharing = set(ranked[: count + SHARERS] if heat else ranked)
    chances = reference.softmax([x if i in sharing else -math.inf for i, x in enumerate(noisy)])
    return [(i, chances[i]) for i in ranked[:count]]


def likeliest_tree(children: Callable[[tuple[int, ...]], list[tuple[int, float]]], size: int) -> Paths:
    """The `size` nodes of highest score of an endless tree, taken one at a time (DySpec, algorithm 1)."""
    found: Paths = {}
    open_: Paths = {(token,): chance for token, chance in children(())}
    while len(found) < size:
        path = max(open_, key=lambda path: open_[path])
        found[path] = open_.pop(path)
        open_ |= {(*path, token): found[path] * chance for token, chance in children(path)}
    return found
