"""Whether an answer is right, in all the forms that answers come in."""

import pytest

from ringroad.cluster.training.grading import final, right, same
from ringroad.cluster.training.tasks import Task


def said(expected: str, text: str) -> bool:
    return right(Task("set/1", "What is it?", "exact", expected), text)


@pytest.mark.parametrize(
    "text",
    [
        "Answer: 12",
        "answer: 12",
        "ANSWER: 12.",
        "Answer:12",
        "Answer:\n12",
        "Answer: $12",
        "**Answer:** $12",
        "**Answer**: 12",
        "**Answer: 12**",
        "### Answer: 12",
        "### Answer\n12",
        "Answer: x = 12.",
        "Answer: 5 + 7 = 12",
        "Answer: `12`",
        'Answer: "12"',
        "Answer: 12.0",
        "Answer: 012",
        "Answer: 12 apples",
        "Answer: 12%",
        "Answer: <12>",
        "Answer: \\boxed{12}",
        "Answer: $\\boxed{12}$",
        "Answer: \\(12\\)",
        "Answer: \\( x = 12 \\)",
        "Answer: \\frac{24}{2}",
        "Answer: 24/2",
        "Answer: The answer is 12.",
        "The answer is 12.",
        "The answer is: 12",
        "Final answer: 12",
        "First 3, then 4, so 3 * 4 = 12.\nAnswer: 12",
        "Answer: 3\nNo, that was wrong.\nAnswer: 12",
        "To answer this, take 3 and 4. 3 * 4 = 12",
        "To answer the question, take 3 and 4. They make 12.",
        "Answer: 12\n\nI hope that this answer helps!",
        "So there are 12 of them.",
        "12",
    ],
)
def test_forms_of_twelve(text: str) -> None:
    assert said("12", text)


@pytest.mark.parametrize(
    "text",
    [
        "Answer: 13",
        "Answer: -12",
        "Answer: −12",
        "Answer: 112",
        "Answer: 1.2",
        "Answer: 12.5",
        "Answer: 12/5",
        "Answer: \\frac{12}{5}",
        "Answer: 1,2",
        "Answer: 120",
        "Answer: twelve",
        "Answer: 12 = 13",
        "Answer: 13\nNot 12",
        "We have 12 now.\nAnswer: 13",
        "12 is too much, it is 13",
        "Answer:",
        "Answer: ",
        "no number at all",
        "",
    ],
)
def test_what_is_not_twelve(text: str) -> None:
    assert not said("12", text)


@pytest.mark.parametrize(
    ("expected", "text", "is_right"),
    [
        ("3/4", "Answer: 3/4", True),
        ("3/4", "Answer: \\frac{3}{4}", True),
        ("3/4", "Answer: \\( \\dfrac{3}{4} \\)", True),
        ("3/4", "Answer: 3 / 4", True),
        ("3/4", "Answer: 0.75", True),
        ("3/4", "It simplifies to $\\frac{3}{4}$", True),
        ("3/4", "Answer: 3/5", False),
        ("3/4", "Answer: 4/3", False),
        ("3/4", "Answer: 3", False),
        ("3", "Answer: \\frac{3}{4}", False),
        ("3", "Answer: 3 / 4", False),
        ("3", "Answer: 3/0", False),
        ("-3/4", "Answer: -\\frac{3}{4}", True),
        ("-3", "Answer: −3", True),
        ("-3", "Answer: 3", False),
        ("0.5", "Answer: .5", True),
        ("0.5", "Answer: 0.50", True),
        ("0.5", "Answer: 1/2", True),
        ("0.5", "Answer: 5", False),
        ("-76.5", "Answer: -76.50", True),
        ("-76.5", "So 3.5 - 80 = -76.5", True),
        ("1234", "Answer: 1,234", True),
        ("1234", "Answer: $1,234.00 in all", True),
        ("1,234", "Answer: 1234", True),
        ("1234567", "Answer: 1,234,567", True),
        ("1234", "Answer: 1, 234", True),
        ("34", "Answer: 3, 4", False),
        ("123", "Answer: 1,23", False),
        ("[1, 2, 3]", "Answer: [1, 2, 3]", True),
        ("[1, 2, 3]", "Answer: 1,2, 3", True),
        ("[1, 2, 3]", "Answer: [1, 2]", False),
        ("[1, 2, 3]", "Answer: [3, 2, 1]", False),
        ("[1, 2, 3]", "Answer: 123", False),
        ("1 2 3", "Answer: 1  2 3", True),
        ("yes", "Answer: Yes.", True),
        ("yes", "The answer is **yes**", True),
        ("yes", "Answer: no", False),
        ("yes", "Answer: yesterday", False),
        ("a b", "Answer: 'A  b'", True),
    ],
)
def test_other_answers(expected: str, text: str, is_right: bool) -> None:
    assert said(expected, text) is is_right


def test_the_last_answer_counts() -> None:
    assert final("Answer: 1\nAnswer: 2\nthen 3") == "2"
    assert final("first 1,000 and then -2.5 of them") == "-2.5"
    assert final("nothing ") == "nothing"
    assert same("7", "7")


def test_talk_has_no_right_answer() -> None:
    with pytest.raises(ValueError, match="talk/1"):
        right(Task("talk/1", "Well?", "none"), "Answer: 12")


GIVEN = 'from math import floor\n\n\ndef half(x: float) -> int:\n    """Half of it, whole."""\n'
TESTS = (
    "def check(candidate):\n    assert candidate(5.5) == 2\n    assert candidate(-1) == -1\n\ncheck(half)\n"
)
RIGHT = "def half(x: float) -> int:\n    return floor(x / 2)\n"
WRONG = "def half(x: float) -> int:\n    return int(x / 2)\n"
TASK = Task("human-eval/0", "Complete it", "tests", TESTS, GIVEN)


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        (f"```python\n{RIGHT}```", True),
        (f"Here it is:\n\n```python\n{GIVEN}    return floor(x / 2)\n```\nIt halves.", True),
        (f"```Python\n{RIGHT}```", True),
        (f"```py\n{RIGHT}```", True),
        (f"```python3\n{RIGHT}```", True),
        (f"```\n{RIGHT}```", True),
        (f"``` python  \n{RIGHT}\n```", True),
        (f"```python\n{RIGHT}", True),  # cut off where nothing is missing
        (RIGHT, True),
        (f"```bash\nrm it\n```\nor rather\n```python\n{RIGHT}```", True),
        (f"```python\n{RIGHT}```\nUsed as\n```python\nprint(half(7))\n```", True),
        (f"```python\n{WRONG}```", False),
        (WRONG, False),
        (f"Here it is:\n{RIGHT}", False),  # no program
        (f"```python\n{RIGHT[:-4]}", False),
        ("```python\ndef other(x):\n    return 1\n```", False),
        ("```python\ndef half(x):\n    raise ValueError\n```", False),
        (GIVEN, False),
        ("", False),
    ],
)
def test_code_is_run(text: str, is_right: bool) -> None:
    assert right(TASK, text) is is_right


def test_leaving_before_the_tests_is_no_pass() -> None:
    assert not right(TASK, f"```python\n{WRONG}\nraise SystemExit(0)\n```")
