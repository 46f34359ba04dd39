"""Where a sentence ends, and whether two of them say the same."""

import re
from collections.abc import Callable, Sequence

MOST = 40  # tokens of a sentence that are looked at
ALIKE = 0.5  # of all words of two sentences, those in both

_WORD = re.compile(r"[^\W\d_]+")
_FIGURE = re.compile(r"\d+(?:\.\d+)?|[-+*/=<>]")


def ends_sentence(token: bytes, before: bytes) -> bool:
    """Whether a sentence or a line ends with a token; a point behind a digit may be a decimal one."""
    if b"\n" in token:
        return True
    said = token.rstrip(b" *`\"'")
    return said.endswith((b".", b"!", b"?")) and not (before + said)[-2:-1].isdigit()


def sentence(tokens: Sequence[int], bytes_of: Callable[[int], bytes], before: bytes = b"") -> list[int]:
    """The first tokens up to the end of a sentence, at most MOST."""
    for i, token in enumerate(tokens[:MOST]):
        if ends_sentence(bytes_of(token), before):
            return list(tokens[: i + 1])
        before = bytes_of(token)
    return list(tokens[:MOST])


def same_line(one: str, other: str) -> bool:
    """Whether two are the same but for spaces, case, and a comment at the end: for code and lists."""
    return _line(one) == _line(other)


def same_figures(one: str, other: str) -> bool:
    """Whether two hold the same numbers and signs in the same order and mostly the same words: for sums."""
    if _FIGURE.findall(one) != _FIGURE.findall(other):
        return False
    words, others = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    return len(words & others) >= ALIKE * len(words | others)


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"#.*", "", text)).strip().strip(".,;:").lower()
