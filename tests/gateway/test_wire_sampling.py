"""How tokens are to be drawn, as the router hears it."""

from typing import Any

import pytest

from ringroad.actors.grammars import MAKERS
from ringroad.actors.messages import Sampling, Shaping
from ringroad.v1.inference_pb2 import GenerateRequest


async def test_unset_sampling_is_the_likeliest_token(serving: Any) -> None:
    async with serving() as served:
        asked = GenerateRequest(prompt="hi", sampling={"seed": 0, "top_k": 2**32 - 1})
        call = served.inference.Generate(asked)
        submit = await served.router.submitted()
        assert submit.sampling == Sampling(seed=0, top_k=261)
        call.cancel()


async def test_what_shapes_a_text_reaches_the_router(serving: Any) -> None:
    asked = GenerateRequest(
        prompt="hi",
        sampling={
            "seed": 1,
            "repetition_penalty": 1.5,
            "presence_penalty": -0.5,
            "frequency_penalty": 0.25,
            "logit_bias": {9: 100, 5: -1},
        },
        stop_token_ids=[7, 257],
        min_tokens=16,
    )
    async with serving() as served:
        call = served.inference.Generate(asked)
        submit = await served.router.submitted()
        assert submit.ends == [257, 258, 7]
        expected = Shaping(2, ((5, -1.0), (9, 100.0)), 1.5, -0.5, 0.25, 16, (257, 258, 7))
        assert submit.sampling == Sampling(1, shaping=expected)
        call.cancel()


@pytest.mark.parametrize(
    ("asked", "ends", "shaping"),
    [
        ({"sampling": {"repetition_penalty": 1, "presence_penalty": 0}}, [257, 258], None),
        ({"sampling": {"logit_bias": {3: 1}}}, [257, 258], Shaping(2, ((3, 1.0),), late=(257, 258))),
        ({"ignore_eos": True, "min_tokens": 2}, [], Shaping(2, least=2)),
        ({"ignore_eos": True, "stop_token_ids": [3, 3]}, [3], None),
    ],
)
async def test_logits_are_changed_where_something_asks_for_it(
    serving: Any, asked: dict[str, Any], ends: list[int], shaping: Shaping | None
) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", **asked))
        submit = await served.router.submitted()
        assert (submit.ends, submit.sampling.shaping) == (ends, shaping)
        call.cancel()


@pytest.mark.parametrize(
    ("kind", "source"),
    [("regex", "a+b"), ("json_schema", '{"multipleOf": 0.001, "type": "number"}'), ("lark", 'start: "a"+')],
)
async def test_a_form_reaches_the_router_as_a_grammar(serving: Any, kind: str, source: str) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", structure={kind: source}))
        submit = await served.router.submitted()
        expected = Shaping(2, late=(257, 258), grammar=MAKERS[kind](source))
        assert submit.sampling.shaping == expected
        call.cancel()
