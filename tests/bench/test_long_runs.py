"""What is made of runs behind long prompts: by hand."""

import pytest
from long_runs import FULL, PLAIN, Run, summary, table


def run(text: list[int], rate: float, accepted: int = 0, consults: int = 1) -> Run:
    return Run(text, {"tokens_per_second": rate, "accepted": accepted, "consults": consults})


def test_a_prompts_ways_are_compared_with_the_full_view() -> None:
    found = summary(
        {
            PLAIN: [run([1, 2], 2.0), run([1, 2], 2.0)],
            FULL: [run([1, 2], 4.0), run([1, 2], 8.0), run([1, 2], 5.0)],
            "window": [run([1, 2], 7.0), run([1, 3], 8.0)],
        }
    )
    assert found[PLAIN]["ratio"] == pytest.approx(0.4)
    assert found["window"]["tokens_per_second"] == pytest.approx(7.5)
    assert found["window"]["ratio"] == pytest.approx(1.5)
    assert (found["window"]["equal_texts"], found["window"]["texts"]) == (1, 2)


def test_all_prompts_count_alike() -> None:
    rows = [
        {"ways": summary({PLAIN: [run([1], 1.0)], FULL: [run([1], full)], "heavy": [run([1], part, 6, 2)]})}
        for full, part in ((2.0, 4.0), (5.0, 5.0), (1.0, 1.5))
    ]
    found = table(rows)
    assert found["heavy"] == {
        "tokens_per_second": 4.0,
        "ratio": 1.5,
        "accepted_per_consult": 3.0,
        "equal_texts": 3,
        "texts": 3,
    }
    assert found[FULL]["ratio"] == 1.0
