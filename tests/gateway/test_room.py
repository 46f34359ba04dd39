"""A text that neither the context nor a cache holds is refused before anything is computed."""

from typing import Any

import grpc
import msgspec
import pytest

from ringroad.v1.inference_pb2 import MODE_LARGE, MODE_ROUTED, MODE_SMALL, MODE_SPECULATIVE, GenerateRequest


@pytest.mark.parametrize(
    ("mode", "longest", "what"),
    [
        (MODE_LARGE, {"verifier": 30}, "the verifier's cache of 30"),
        (MODE_SPECULATIVE, {"verifier": 30, "drafter": 20}, "the verifier's cache of 30"),
        (MODE_ROUTED, {"verifier": 30, "drafter": 20}, "the drafter's cache of 20"),
        (MODE_SMALL, {"verifier": 10, "drafter": 40}, "the drafter's cache of 40"),
        (MODE_SMALL, {"verifier": 10, "drafter": 4000}, "the context of 64"),
        (MODE_LARGE, {}, "the context of 64"),
    ],
)
async def test_a_text_that_nothing_holds_is_refused_at_once(
    serving: Any, helpers: Any, mode: int, longest: dict[str, int], what: str
) -> None:
    """By the field that asks for it, with both numbers; and the default stays below what there is."""
    limit = int(what.split()[-1])
    peers = [
        msgspec.structs.replace(peer, longest=longest.get(peer.role, 0))
        for peer in (helpers.VERIFIER, helpers.DRAFTER)
    ]
    async with serving(roster=peers, default_max_tokens=1000) as served:
        for asked, field, said in (
            ({"prompt": "x" * limit}, "prompt", f"has {limit} tokens, {what} has no room"),
            (
                {"prompt": "xx", "max_tokens": limit - 1},
                "max_tokens",
                f"{limit - 1} and a prompt of 2 tokens",
            ),
        ):
            call = served.inference.Generate(GenerateRequest(mode=mode, **asked))
            code, details = await helpers.failure(call)
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            (violation,) = details.field_violations
            assert violation.field == field
            assert said in violation.description
            assert what in violation.description
        for asked in ({"max_tokens": limit - 2}, {}):
            call = served.inference.Generate(GenerateRequest(prompt="xx", mode=mode, **asked))
            assert (await served.router.submitted()).max_tokens == limit - 2
            call.cancel()
