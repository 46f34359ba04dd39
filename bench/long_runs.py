"""What is made of runs behind long prompts."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

PLAIN, FULL = "large alone", "all"


class Run(NamedTuple):
    """One text, and what it took behind its first tokens."""

    text: list[int]
    figures: dict[str, float]

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.figures["tokens_per_second"]


def summary(runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Of one prompt: every way's medians."""
    plain = runs[PLAIN][0].text if PLAIN in runs else None
    full = median(run.rate for run in runs[FULL])
    return {
        way: {
            **{name: round(median(run.figures[name] for run in found), 3) for name in found[0].figures},
            "ratio": round(median(run.rate for run in found) / full, 3),
            "equal_texts": sum(run.text == plain for run in found),
            "texts": len(found),
        }
        for way, found in runs.items()
    }


def table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all prompts: medians of each way, and how many texts are the large model's."""
    return {
        way: {
            "tokens_per_second": round(median(row["ways"][way]["tokens_per_second"] for row in rows), 2),
            "ratio": round(median(row["ways"][way]["ratio"] for row in rows), 3),
            "accepted_per_consult": round(
                sum(row["ways"][way]["accepted"] for row in rows)
                / sum(row["ways"][way]["consults"] for row in rows),
                2,
            ),
            "equal_texts": sum(row["ways"][way]["equal_texts"] for row in rows),
            "texts": sum(row["ways"][way]["texts"] for row in rows),
        }
        for way in rows[0]["ways"]
    }
