"""Where a sentence ends, and whether two of them say the same."""

import operator
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

MOST = 40  # tokens of a sentence that are looked at
ALIKE = 0.5  # of all words of two sentences, those in both

_WORD = re.compile(r"[^\W\d_]+")
_FIGURE = re.compile(r"\d+(?:\.\d+)?")
# Not where a sentence begins: what stands there may be the end of a number.
_EQUATION = re.compile(r"(?<=[ (])(\d+(?:\.\d+)?) ([-+*/×]) (\d+(?:\.\d+)?) = (-?\d+(?:\.\d+)?)")
_SIGNS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "×": operator.mul,
    "/": operator.truediv,
}


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


def same_words(one: str, other: str) -> bool:
    """Whether two are mostly the same words: for talk."""
    words, others = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    return len(words & others) >= ALIKE * len(words | others)


def same_figures(one: str, other: str) -> bool:
    """Whether two come to the same numbers, or one to some of the other's, and the second calculates right:
    for sums. Where one has no numbers, words decide."""
    figures, others = set(_FIGURE.findall(one)), set(_FIGURE.findall(other))
    if not all(map(_holds, _EQUATION.finditer(other))):
        return False
    if figures and others:
        return figures <= others or others <= figures
    return same_words(one, other)


def _holds(equation: re.Match[str]) -> bool:
    left, sign, right, result = equation.groups()
    try:
        found = _SIGNS[sign](Fraction(left), Fraction(right))
    except ZeroDivisionError:
        return False
    return abs(found - Fraction(result)) <= Fraction(1, 100)  # what is rounded holds, too


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"#.*", "", text)).strip().strip(".,;:").lower()
