"""A cluster without a small model: drafts are looked up in the text."""

from pathlib import Path

import grpc
import pytest

from ringroad.cluster.client import CallFailed
from tests.e2e.clusters import running

PROMPT = "Repeat this line three times: the quick brown fox jumps over the lazy dog."


def test_lookup_drafts_change_no_text(tmp_path: Path) -> None:
    with running(tmp_path, "smollm2-135m", "", "fp32") as cluster:
        large = cluster.generate(PROMPT, mode="large", max_tokens=48)
        speculative = cluster.generate(PROMPT, mode="speculative", max_tokens=48)
        assert speculative.ids == large.ids
        assert speculative.usage.accepted_tokens > 0
        for mode in ("small", "routed"):
            with pytest.raises(CallFailed) as failed:
                cluster.generate(PROMPT, mode=mode)
            assert failed.value.code is grpc.StatusCode.INVALID_ARGUMENT
            assert list(failed.value.fields) == ["mode"]
