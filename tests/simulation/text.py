"""What the tokens of the tiny models mean as text: letters, some two at a time, and halves of one."""

from collections.abc import Sequence

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
HALVES = {62: b"\xc3", 63: b"\xa9"}  # together: é


def bytes_of(token: int) -> bytes:
    """What a token adds to a text."""
    if token in HALVES:
        return HALVES[token]
    return (LETTERS[token] + (LETTERS[token // 8] if token % 4 == 0 else "")).encode()


def text_of(tokens: Sequence[int]) -> str:
    """What is not UTF-8 becomes U+FFFD."""
    return b"".join(map(bytes_of, tokens)).decode(errors="replace")


def stopped(tokens: Sequence[int], stops: Sequence[str]) -> int | None:
    """How many tokens there are up to the one that completes a stop string; None where none does."""
    for count in range(1, len(tokens) + 1):
        if any(stop in text_of(tokens[:count]) for stop in stops):
            return count
    return None


def before_stops(text: str, stops: Sequence[str]) -> str:
    """A text up to the first stop string in it."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]
