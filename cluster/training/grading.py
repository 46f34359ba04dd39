"""Whether an answer is right: by tests that are run, or by the exact final answer."""

import re
from fractions import Fraction

from ringroad.cluster.training.sandbox import passes
from ringroad.cluster.training.tasks import Task

_FENCED = re.compile(r"```[ \t]*(\w*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_PYTHON = ("", "python", "python3", "py")
# The word alone is no sign of one: texts answer questions and hope that an answer helps.
_ANSWER = re.compile(r"\banswer[*_]*(?:\s+is\b|\s*[:=]|[ \t]*\n)[\s:*#]*(?=\S)(.+)", re.IGNORECASE)
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+)?")
_LISTED = re.compile(r",(?!\d{3}(?!\d))")  # a comma that does not part thousands
_FRACTION = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")


def right(task: Task, text: str) -> bool:
    """Whether a text answers a task. Raises ValueError for one that nobody can judge."""
    if task.check == "tests":
        return passes(program(task, text))
    if task.check == "exact":
        return same(task.reference, final(text))
    raise ValueError(f"{task.name}: no answer to it is right or wrong")


def program(task: Task, text: str) -> str:
    """The code in a text, behind what its function was given, before its tests."""
    blocks = _FENCED.findall(text)
    written = next((code for language, code in blocks if language.lower() in _PYTHON), text)
    # Imports and helpers of the question are there either way; a whole function takes the given one's place.
    return f"{task.given}    pass\n\n{written}\n\n{task.reference}"


def final(text: str) -> str:
    """What a text gives as its answer: behind the last "Answer:", else the last number in it."""
    text = _FRACTION.sub(r"\1/\2", text).replace("−", "-")
    found = _ANSWER.findall(text)
    if found:
        return str(found[-1]).strip()
    numbers = _NUMBER.findall(text)
    return str(numbers[-1]) if numbers else text.strip()


def same(expected: str, given: str) -> bool:
    """Whether two answers are the same word, list or number, whatever surrounds them."""
    expected, given = _plain(expected), _plain(given.rpartition("=")[2])
    if expected == given:
        return True
    wanted = _number(expected)
    if wanted is None:
        return False
    return wanted in (_number(given), *(map(_number, _NUMBER.findall(given)[:1])))


def _plain(text: str) -> str:
    text = re.sub(r"\\boxed\{(.*)\}|\\\((.*)\\\)", lambda m: m.group(1) or m.group(2) or "", text)
    text = re.sub(r"[`*$\"'\[\]]", "", text).strip().rstrip(".").lower()
    return re.sub(r"\s*([,/])\s*", r"\1", re.sub(r"\s+", " ", text))


def _number(text: str) -> Fraction | None:
    if _LISTED.search(text):
        return None
    try:
        return Fraction(text.replace(",", "").strip())
    except (ValueError, ZeroDivisionError):
        return None
