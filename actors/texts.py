"""How a role follows a session's text from the differences the router sends."""

from collections.abc import Sequence


class Behind(Exception):
    """The router counts on more tokens than are held here: the session must be opened again."""


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (mine, its) in pairs if mine != its), min(len(one), len(other)))


def follow(text: list[int], base: int, tokens: list[int]) -> int:
    """Makes `text` its own first `base` tokens, then `tokens`. Raises Behind when it is shorter.

    Returns how many of its leading tokens stand where they stood: `base`, and what was guessed right.
    """
    if base > len(text):
        raise Behind
    agreed = base + alike(text[base:], tokens)
    text[base:] = tokens
    return agreed
