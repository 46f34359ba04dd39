"""The real pair, Qwen2.5-Coder 0.5B and 1.5B in bf16, through the whole cluster."""

from pathlib import Path

from tests.e2e.clusters import running

PROMPT = "Write a Python function that reverses a string."


def test_the_pair_in_every_mode(tmp_path: Path) -> None:
    with running(tmp_path, "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b", "bf16") as cluster:
        options = {"seed": 7, "temperature": 0.7, "max_tokens": 40}
        large = cluster.generate(PROMPT, mode="large", **options)
        # A number of its own: what the router would choose depends on what else the machine does.
        speculative = cluster.generate(PROMPT, mode="speculative", draft_tokens=4, **options)
        routed = cluster.generate(PROMPT, mode="routed", **options)
        small = cluster.generate(PROMPT, mode="small", **options)
    assert speculative.ids == large.ids
    assert "def " in large.text
    assert speculative.usage.consults < len(large.ids) / 2
    assert set(routed.speakers) <= {"SMALL_KEPT", "LARGE"}
    assert small.usage.consults == 0
    assert small.usage.small_tokens == len(small.ids)
