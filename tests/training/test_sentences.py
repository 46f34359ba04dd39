"""Where sentences end, and which say the same."""

import pytest

from ringroad.cluster.training.sentences import (
    MOST,
    ends_sentence,
    same_figures,
    same_line,
    same_words,
    sentence,
)


@pytest.mark.parametrize(
    ("before", "token", "ends"),
    [
        (b" dog", b".", True),
        (b" dog", b"!", True),
        (b" dog", b"?", True),
        (b" dog", b".\n", True),
        (b" dog", b"\n\n", True),
        (b"", b"\n", True),
        (b"3", b"\n", True),
        (b" dog", b".**", True),
        (b" dog", b'."', True),
        (b" dog", b".`", True),
        (b" dog", b". ", True),
        (b"", b" dog.", True),
        (b"3", b".", False),  # perhaps 3.5
        (b" 3", b".", False),
        (b"", b"3.", False),
        (b" dog", b",", False),
        (b" dog", b":", False),
        (b" dog", b" cat", False),
        (b" dog.", b'"', False),  # ended before
        (b"", b"", False),
        (b"", b".", True),
        (b"", b".5", False),
        (b" e", b".g", False),
    ],
)
def test_where_a_sentence_ends(before: bytes, token: bytes, ends: bool) -> None:
    assert ends_sentence(token, before) is ends


WORDS = [b"One", b" two", b".", b" 3", b".", b"5", b" four", b"!", b" five"]


def test_the_first_sentence() -> None:
    assert sentence(range(9), WORDS.__getitem__) == [0, 1, 2]
    assert sentence(range(3, 9), WORDS.__getitem__) == [3, 4, 5, 6, 7]
    assert sentence([8], WORDS.__getitem__) == [8], "an unended one is whole"
    assert sentence([], WORDS.__getitem__) == []


def test_what_stands_before_decides_about_a_first_point() -> None:
    assert sentence([4, 5, 6, 7], WORDS.__getitem__, WORDS[3]) == [4, 5, 6, 7]
    assert sentence([2, 5, 6, 7], WORDS.__getitem__, WORDS[1]) == [2]


def test_a_sentence_is_looked_at_so_far_and_no_further() -> None:
    assert sentence(range(1000), lambda token: b" x") == list(range(MOST))
    assert sentence(range(1000), lambda token: b"." if token == MOST - 1 else b" x") == list(range(MOST))
    assert sentence(range(1000), lambda token: b"." if token == MOST else b" x") == list(range(MOST))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("    return a + b\n", "  return  a + b", True),
        ("return a  # the sum", "return a", True),
        ("x = 1 # one\ny = 2", "x = 1\ny = 2", True),
        ("Paris.", "paris", True),
        ("- Paris;", "- Paris,", True),
        ("return a + b", "return a - b", False),
        ("return a", "return b", False),
        ("", "x", False),
        ("if a:", "if b:", False),
    ],
)
def test_lines(one: str, other: str, same: bool) -> None:
    assert same_line(one, other) is same
    assert same_line(other, one) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The moon is a big rock.", "The moon is one big rock!", True),
        ("The moon is a rock", "the MOON is a rock", True),
        ("The moon is a rock", "Cheese grows on trees", False),
        ("a b", "a c d", False),  # one of four
        ("a b", "a c", False),  # one of three
        ("a b c", "a b d", True),  # two of four
        ("", "", True),
        ("1 2", "3 4", True),  # no words at all
        ("", "words", False),
    ],
)
def test_words(one: str, other: str, same: bool) -> None:
    assert same_words(one, other) is same
    assert same_words(other, one) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("She has 12 apples.", "So there are 12 of them.", True),
        ("She has 12 apples.", "She has 13 apples.", False),
        ("3 + 4 = 7 apples", "That gives 7", True),
        ("That gives 7", "Now 3 + 4 = 7 apples", True),
        ("That gives 7", "Now 3 + 5 = 7 apples", False),  # calculates wrong
        ("Now 3 + 4 = 8 and 8", "That is 8", True),  # the large one's own sums are not looked at
        ("So 10 / 4 = 2.5", "So 10 / 4 = 2.50, 2.5", True),
        ("So 2.67", "So 8 / 3 = 2.67", True),  # what is rounded holds
        ("So 2.7", "So 8 / 3 = 2.7", False),
        ("So 6", "So 2 × 3 = 6", True),
        ("So -1", "So 2 - 3 = -1", True),
        ("So 0", "So 1 / 0 = 0", False),
        ("We add the apples first", "We add the apples now", True),
        ("We add the apples", "Then came trees", False),
        ("We add 5 apples", "We add some apples", True),  # one has none: words
        ("It is 5", "It is 6, 7", False),
        ("It is 5 and 6", "It is 6 and 7", False),
    ],
)
def test_figures(one: str, other: str, same: bool) -> None:
    assert same_figures(one, other) is same
