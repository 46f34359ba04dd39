"""Whether a mismatch matters: whether the two sentences it leads to say the same."""

from collections.abc import Callable
from typing import Protocol

import httpx2

from ringroad.cluster.training.sentences import same_figures, same_line, same_words
from ringroad.cluster.training.tasks import Task

_ASK = """Two writers continue the same answer to the same question. Say whether what they go on with has
the same meaning and leads to the same result. Answer with one word, SAME or DIFFERENT.

Question:
{question}

Writer A:
{one}

Writer B:
{other}
"""


class Judge(Protocol):
    """Compares what the large model goes on with after its own word and after the small model's."""

    def __call__(self, task: Task, large: str, small: str) -> bool:
        """Whether the two say different things."""


class JudgeFailed(Exception):
    """A judge elsewhere that gave no verdict; says what it gave."""


def plain(task: Task, large: str, small: str) -> bool:
    """Without a model: figures where the answer is a number, words where none is right, else whole lines."""
    same: Callable[[str, str], bool] = same_line
    if task.check != "tests":
        same = same_figures if _is_sum(task) else same_words
    return not same(large, small)


def _is_sum(task: Task) -> bool:
    return task.check == "exact" and task.reference.lstrip("-").replace(",", "")[:1].isdigit()


class ModelJudge:
    """A language model behind any OpenAI-compatible endpoint."""

    def __init__(self, url: str, model: str, key: str = "", seconds: float = 60.0) -> None:
        """`url` as clients want it, with its /v1."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        alone = httpx2.Limits(max_keepalive_connections=0)  # nothing stays open, so there is nothing to close
        self._client = httpx2.Client(
            base_url=url.rstrip("/") + "/", headers=headers, timeout=seconds, limits=alone
        )
        self._model = model

    def __call__(self, task: Task, large: str, small: str) -> bool:
        """Raises JudgeFailed."""
        ask = _ASK.format(question=task.question, one=large, other=small)
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": ask}],
            "temperature": 0,
            "max_tokens": 4,
        }
        try:
            answer = self._client.post("chat/completions", json=body).raise_for_status().json()
            said = str(answer["choices"][0]["message"]["content"]).strip().upper()
        except (httpx2.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise JudgeFailed(f"{self._client.base_url}: {type(error).__name__}: {error}") from error
        for word, differs in (("DIFFERENT", True), ("SAME", False)):
            if said.startswith(word):
                return differs
        raise JudgeFailed(f"{self._client.base_url}: said {said[:40]!r} in place of SAME or DIFFERENT")
