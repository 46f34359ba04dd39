"""What a head's file says of itself: for which models, trained how well. Read without torch."""

import math
from itertools import pairwise
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open

from ringroad.actors.errors import RingroadError

FORMAT = 1
KEY = "ringroad"  # of the file's metadata: the card as JSON


class HeadError(RingroadError):
    """A head's file that cannot be used, or not for these models."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """The card of a head."""

    format: int = FORMAT
    small: str  # fingerprints of the models it was trained for (engine/weights.py)
    large: str
    small_name: str = ""
    large_name: str = ""
    small_weights: str = ""  # what the small model was when it was trained: "bf16", "int4"
    threshold: float  # that serves by default
    # Of each rule's doubt on the small model's tokens, evenly spaced from the lowest to the highest: what
    # it takes to hold a share of large tokens.
    quantiles: dict[str, list[float]] = {}
    date: str = ""
    recall: float = 0.0  # at the threshold: of tokens that matter, how many are found
    figures: dict[str, float] = {}  # whatever else was measured


def metadata(path: Path) -> Card:
    """The card of a file. Raises HeadError for a file that is no head's, or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY)
    except (OSError, SafetensorError) as error:
        raise HeadError(f"{path}: {error}") from error
    if text is None:
        raise HeadError(f"{path}: not a head: no {KEY!r} in its metadata")
    return parsed(text, path)


def parsed(text: str, path: Path) -> Card:
    """A card from its JSON, looked at. Raises HeadError naming the file."""
    try:
        card = msgspec.json.decode(text, type=Card)
    except msgspec.MsgspecError as error:
        raise HeadError(f"{path}: its card: {error}") from error
    if card.format != FORMAT:
        raise HeadError(f"{path}: format {card.format}; this version reads {FORMAT}")
    if not math.isfinite(card.threshold):
        raise HeadError(f"{path}: its card: threshold {card.threshold}")
    for name, known in card.quantiles.items():
        if len(known) < 2 or any(right < left for left, right in pairwise(known)):
            raise HeadError(f"{path}: its card: quantiles of {name} must rise")
    return card


def check(card: Card, small: str, large: str, path: Path) -> None:
    """Raises HeadError, with both fingerprints of both pairs, for a head of other models than these."""
    if (card.small, card.large) != (small, large):
        raise HeadError(
            f"{path}: trained for {_pair(card)}: fingerprints {card.small} and {card.large}; "
            f"these models have {small} and {large}"
        )


def _pair(card: Card) -> str:
    return f"{card.small_name or 'a small'} and {card.large_name or 'a large model'}"
