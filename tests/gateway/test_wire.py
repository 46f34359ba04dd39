"""What a request may ask for: every bad one is refused by the name of its field, and harms nobody."""

import math
from typing import Any

import grpc
import pytest

from ringroad.actors.messages import Mode, Policy, Sampling
from ringroad.v1 import inference_pb2
from ringroad.v1.inference_pb2 import MODE_LARGE, MODE_ROUTED, MODE_SMALL, MODE_SPECULATIVE, GenerateRequest

GENERATE = "/ringroad.v1.InferenceService/Generate"
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def turns(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("prompt", {}),
        ("prompt", {"prompt": ""}),
        ("chat", {"chat": {}}),
        ("token_ids", {"token_ids": {}}),
        ("chat", {"prompt": "hi", "chat": CHAT}),
        ("token_ids", {"prompt": "hi", "token_ids": {"ids": [1]}}),
        ("token_ids", {"chat": CHAT, "token_ids": {"ids": [1]}}),
        ("chat.messages[1].role", {"chat": turns(("user", "hi"), ("tool", "x"))}),
        ("chat.messages[0].role", {"chat": turns(("", "hi"))}),
        ("chat", {"chat": turns(("user", "boom"))}),
        ("token_ids.ids[1]", {"token_ids": {"ids": [1, 261]}}),
        ("prompt", {"prompt": "x" * 64}),
        ("chat", {"chat": turns(("user", "x" * 64))}),
        ("token_ids", {"token_ids": {"ids": [1] * 65}}),
        ("max_tokens", {"prompt": "x" * 60, "max_tokens": 5}),
        ("max_tokens", {"prompt": "hi", "max_tokens": 2**32 - 1}),
        ("max_tokens", {"prompt": "hi", "max_tokens": 0}),
        ("model", {"prompt": "hi", "model": "other"}),
        ("model", {"prompt": "hi", "model": "ö" * 10_000}),
        ("mode", {"prompt": "hi", "mode": 9}),
        ("mode", {"prompt": "hi", "mode": -1}),
        ("request_id", {"prompt": "hi", "request_id": "x" * 65}),
        ("request_id", {"prompt": "hi", "request_id": "a b"}),
        ("request_id", {"prompt": "hi", "request_id": "a\n"}),
        ("request_id", {"prompt": "hi", "request_id": "ä"}),
        ("stop", {"prompt": "hi", "stop": ["x"] * 17}),
        ("stop[1]", {"prompt": "hi", "stop": ["x", ""]}),
        ("stop[0]", {"prompt": "hi", "stop": ["x" * 257]}),
        ("stop_token_ids", {"prompt": "hi", "stop_token_ids": [1] * 65}),
        ("stop_token_ids[1]", {"prompt": "hi", "stop_token_ids": [1, 261]}),
        ("min_tokens", {"prompt": "hi", "max_tokens": 4, "min_tokens": 5}),
        ("min_tokens", {"prompt": "hi", "min_tokens": 17}),
        ("logprobs", {"prompt": "hi", "logprobs": 21}),
        ("sampling.watermark_key", {"prompt": "hi", "sampling": {"watermark_key": 1}}),
        ("structure", {"prompt": "hi", "structure": {}}),
        ("structure.regex", {"prompt": "hi", "structure": {"regex": "a("}}),
        ("structure.regex", {"prompt": "hi", "structure": {"regex": "a" * 16_385}}),
        ("structure.regex", {"prompt": "hi", "structure": {"regex": "(" * 8000 + "a" + ")" * 8000}}),
        ("structure.lark", {"prompt": "hi", "structure": {"lark": "start: nothing"}}),
        ("structure.lark", {"prompt": "hi", "structure": {"lark": "start: start"}}),
        ("structure.json_schema", {"prompt": "hi", "structure": {"json_schema": "{"}}),
        ("structure.json_schema", {"prompt": "hi", "structure": {"json_schema": "{} }, {"}}),
        ("structure.json_schema", {"prompt": "hi", "structure": {"json_schema": '{"type": "nonsense"}'}}),
        ("structure.json_schema", {"prompt": "hi", "structure": {"json_schema": '{"uniqueItems": true}'}}),
        ("structure.json_schema", {"prompt": "hi", "structure": {"json_schema": '{"$ref": "#"}'}}),
        ("structure.json_schema", {"prompt": "hi", "structure": {"json_schema": '{"multipleOf": 1000003}'}}),
        ("structure.json_schema", {"prompt": "hi", "structure": {"json_schema": "[" * 16_000}}),
        (
            "structure.json_schema",
            {"prompt": "hi", "structure": {"json_schema": '{"items":' * 1500 + "{}" + "}" * 1500}},
        ),
        ("ignore_eos", {"prompt": "hi", "ignore_eos": True, "structure": {"regex": "a"}}),
        ("logprobs", {"prompt": "hi", "logprobs": 0, "resumable": True}),
        ("sampling.logit_bias", {"prompt": "hi", "sampling": {"logit_bias": dict.fromkeys(range(301), 0)}}),
        ("sampling.logit_bias[261]", {"prompt": "hi", "sampling": {"logit_bias": {261: 1}}}),
        ("speculation.draft_tokens", {"prompt": "hi", "speculation": {"draft_tokens": 17}}),
        (
            "speculation.draft_tokens",
            {"prompt": "hi", "mode": MODE_ROUTED, "speculation": {"draft_tokens": 0}},
        ),
        ("speculation", {"prompt": "hi", "mode": MODE_LARGE, "speculation": {"draft_tokens": 0}}),
        ("speculation", {"prompt": "hi", "mode": MODE_SMALL, "speculation": {}}),
        ("routing", {"prompt": "hi", "routing": {"policy": "margin"}}),
        ("routing", {"prompt": "hi", "mode": MODE_SPECULATIVE, "routing": {}}),
        ("routing.policy", {"prompt": "hi", "mode": MODE_ROUTED, "routing": {"policy": "other"}}),
        ("routing.policy", {"prompt": "hi", "mode": MODE_ROUTED, "routing": {"policy": "learned"}}),
        (
            "routing.large_share",
            {"prompt": "hi", "mode": MODE_ROUTED, "routing": {"threshold": 0.5, "large_share": 0.5}},
        ),
        (
            "routing.large_share",
            {"prompt": "hi", "mode": MODE_ROUTED, "routing": {"policy": "cascade", "large_share": 0.5}},
        ),
    ]
    + [
        (f"sampling.{name}", {"prompt": "hi", "sampling": {name: value}})
        for name, values in {
            "temperature": [-0.1, 10.5, math.nan, math.inf, -math.inf],
            "top_p": [0.0, -0.1, 1.5, math.nan, math.inf],
            "min_p": [-0.1, 1.5, math.nan, -math.inf],
            "repetition_penalty": [0.0, -1.0, 10.5, math.nan, math.inf],
            "presence_penalty": [-2.5, 2.5, math.nan, math.inf],
            "frequency_penalty": [-2.5, 2.5, math.nan, -math.inf],
        }.items()
        for value in values
    ]
    + [
        (f"routing.{name}", {"prompt": "hi", "mode": MODE_ROUTED, "routing": {name: value}})
        for name, values in {
            "threshold": [-0.1, 2.1, math.nan, math.inf],
            "large_share": [-0.1, 1.1, math.nan, math.inf],
        }.items()
        for value in values
    ]
    + [
        ("sampling.logit_bias[7]", {"prompt": "hi", "sampling": {"logit_bias": {7: value}}})
        for value in (-100.5, 101, math.nan, math.inf)
    ],
)
async def test_a_bad_request_names_its_field(
    serving: Any, helpers: Any, field: str, asked: dict[str, Any]
) -> None:
    async with serving() as served:
        code, details = await helpers.failure(served.inference.Generate(GenerateRequest(**asked)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        (violation,) = details.field_violations
        assert violation.field == field
        assert violation.description
        assert served.router.quiet
        assert await served.load() == (0, 0)
        assert await served.complete() == "ok"


@pytest.mark.parametrize(("mode", "needs"), [(MODE_SMALL, True), (MODE_ROUTED, True), (MODE_LARGE, False)])
async def test_modes_need_their_models(serving: Any, helpers: Any, mode: int, needs: bool) -> None:
    async with serving(small="") as served:
        if needs:
            code, details = await helpers.failure(
                served.inference.Generate(GenerateRequest(prompt="hi", mode=mode))
            )
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert details.field_violations[0].field == "mode"
        assert await served.complete(mode=MODE_LARGE) == "ok"
        assert await served.complete(mode=MODE_SPECULATIVE) == "ok"


def test_a_gateway_cannot_start_with_a_default_mode_it_refuses(helpers: Any) -> None:
    pair = helpers.Pair(name="toy", large="large", context_length=64, vocabulary=261)
    config = helpers.GatewayConfig(default_mode=Mode.ROUTED)
    with pytest.raises(ValueError, match="small model"):
        helpers.Gateway(config, pair, helpers.toy_tokenizer(), helpers.FakeRouter(), helpers.POLICIES, "1")


def test_a_gateway_cannot_start_with_a_default_policy_it_does_not_offer(helpers: Any) -> None:
    pair = helpers.Pair(name="toy", large="large", small="small", context_length=64, vocabulary=261)
    policies = helpers.Policies("learned", {"margin": 0.5})
    with pytest.raises(ValueError, match="learned is not offered; margin"):
        helpers.Gateway(
            helpers.GatewayConfig(), pair, helpers.toy_tokenizer(), helpers.FakeRouter(), policies, "1"
        )


def test_an_unknown_setting_is_refused(helpers: Any) -> None:
    with pytest.raises(ValueError, match="prot"):
        helpers.GatewayConfig(prot=1)


# The wire format by hand: fields 2 (prompt), 3 (chat), 7 (stop), 10 (speculation) and one nobody knows.
@pytest.mark.parametrize(
    ("field", "data"),
    [
        ("prompt", b"\x12\x02a\xff"),
        ("prompt", b"\x12\x03\xed\xa0\x80"),  # a surrogate
        ("chat.messages[1].content", b"\x1a\x0d\x0a\x03\x0a\x01u\x0a\x06\x0a\x01u\x12\x01\xff"),
        ("stop[1]", b"\x12\x01a\x3a\x01b\x3a\x01\xfe"),
        ("request_id", b"\x12\x01a\x62\x01\xfe"),
        ("request", b"\x12\x09a"),
        ("request", b"\xff\xff\xff"),
        ("request", b"\x12\x01a\xfa\x06\x01x"),
        ("request", b"\x12\x01a\x52\x03\xfa\x06\x00"),
    ],
)
async def test_bytes_that_are_no_request_name_the_field(
    serving: Any, helpers: Any, field: str, data: bytes
) -> None:
    async with serving() as served:
        call = served.channel.unary_stream(GENERATE)(data)
        code, details = await helpers.failure(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.field_violations[0].field == field
        assert await served.complete() == "ok"


async def test_a_message_over_the_limit_is_refused(serving: Any, helpers: Any) -> None:
    async with serving(max_message_bytes=1000) as served:
        code, _ = await helpers.failure(served.inference.Generate(GenerateRequest(prompt="x" * 2000)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await served.complete() == "ok"


async def test_what_is_asked_reaches_the_router(serving: Any) -> None:
    asked = GenerateRequest(
        model="toy",
        token_ids={"ids": [104, 105]},
        sampling={"temperature": 0.5, "top_k": 7, "top_p": 0.25, "min_p": 0.125, "seed": 2**64 - 1},
        max_tokens=62,
        mode=MODE_ROUTED,
        speculation={"draft_tokens": 1},
        routing={"policy": "margin", "threshold": 0.25},
        request_id="A.b_c-9",
        ignore_eos=True,
    )
    async with serving() as served:
        call = served.inference.Generate(asked)
        submit = await served.router.submitted()
        assert submit.session.startswith("A.b_c-9~")
        assert submit.prompt == [104, 105]
        assert submit.max_tokens == 62
        assert submit.mode is Mode.ROUTED
        assert submit.sampling == Sampling(seed=2**64 - 1, temperature=0.5, top_k=7, top_p=0.25, min_p=0.125)
        assert submit.ends == []
        assert submit.draft_tokens == 1
        assert submit.policy == Policy("margin", 0.25)
        call.cancel()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"mode": Mode.SPECULATIVE, "max_tokens": 16, "draft_tokens": None, "policy": None}),
        ({}, {"ends": [257, 258], "prompt": [104, 105]}),
        ({"prompt": "x" * 60}, {"max_tokens": 4}),
        ({"prompt": "<|im_end|>a<tool>"}, {"prompt": [257, 97, 259]}),
        ({"prompt": "x" * 63}, {"max_tokens": 1}),
        ({"speculation": {}}, {"draft_tokens": None}),
        ({"mode": MODE_ROUTED}, {"policy": None}),
        ({"mode": MODE_ROUTED, "routing": {}}, {"policy": None}),
        (
            {"mode": MODE_ROUTED, "routing": {"policy": "entropy"}},
            {"policy": Policy("entropy", 0.75), "breaks": []},
        ),
        ({"mode": MODE_ROUTED, "routing": {"threshold": 2}}, {"policy": Policy("margin", 2.0)}),
        ({"mode": MODE_ROUTED, "routing": {"large_share": 0.25}}, {"policy": Policy("margin", share=0.25)}),
        (
            {"mode": MODE_ROUTED, "routing": {"policy": "step", "large_share": 0}},
            {"policy": Policy("step", share=0.0), "breaks": [260]},
        ),
        ({"mode": MODE_LARGE}, {"mode": Mode.LARGE}),
        ({"mode": MODE_SMALL}, {"mode": Mode.SMALL}),
    ],
)
async def test_defaults(serving: Any, asked: dict[str, Any], expected: dict[str, Any]) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(**({"prompt": "hi"} | asked)))
        submit = await served.router.submitted()
        assert {name: getattr(submit, name) for name in expected} == expected
        call.cancel()


async def test_the_servers_policy_may_go_step_by_step(serving: Any, helpers: Any) -> None:
    async with serving(policies=helpers.Policies("step", {"step": 0.25})) as served:
        for mode, breaks in ((MODE_ROUTED, [260]), (MODE_SPECULATIVE, [])):
            call = served.inference.Generate(GenerateRequest(prompt="hi", mode=mode))
            submit = await served.router.submitted()
            assert (submit.policy, submit.breaks) == (None, breaks)
            call.cancel()


async def test_a_chat_goes_through_the_template(serving: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(
            GenerateRequest(chat=turns(("system", "s"), ("user", "é"), ("assistant", "")))
        )
        submit = await served.router.submitted()
        assert bytes(submit.prompt).decode() == "[system]s[user]é[assistant][assistant]"
        call.cancel()


async def test_tokenize(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        ask = served.inference.Tokenize
        kind = inference_pb2.TokenizeRequest
        answer = await ask(kind(text="hi<|im_end|>", model="toy"))
        assert (list(answer.token_ids), answer.context_length) == ([104, 105, 257], 64)
        assert bytes((await ask(kind(chat=CHAT))).token_ids) == b"[user]hi[assistant]"
        assert len((await ask(kind(text="long " * 10_000))).token_ids) == 50_000
        assert not (await ask(kind(text=""))).token_ids
        for field, bad in {
            "text": kind(),
            "chat": kind(text="hi", chat=CHAT),
            "model": kind(text="hi", model="other"),
            "chat.messages[0].role": kind(chat=turns(("nobody", "hi"))),
        }.items():
            code, details = await helpers.failure(ask(bad))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert details.field_violations[0].field == field
