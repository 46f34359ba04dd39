"""What a client asks for, as protobuf."""

from typing import Any

import pytest

from ringroad.cluster.wire import generate_request, user
from ringroad.v1 import inference_pb2
from ringroad.v1.inference_pb2 import TokenIds


def test_a_request_holds_what_was_asked_for_and_nothing_else() -> None:
    assert generate_request("hi") == inference_pb2.GenerateRequest(
        prompt="hi", sampling=inference_pb2.Sampling(), resumable=True
    )
    bare = generate_request("hi", mode=None, draft_tokens=None, policy=None, threshold=None, large_share=None)
    assert bare == generate_request("hi")
    assert not any(map(bare.HasField, ("speculation", "routing", "max_tokens", "chat", "token_ids")))


def test_every_option_reaches_its_field() -> None:
    request = generate_request(
        user("hi"),
        model="pair",
        mode="routed",
        temperature=0.5,
        top_k=1,
        top_p=0.25,
        min_p=0.125,
        repetition_penalty=1.5,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={5: -100.0, 6: 0.5},
        seed=2**64 - 1,
        watermark_key=3,
        max_tokens=7,
        min_tokens=3,
        stop=["a", "b"],
        stop_token_ids=[4, 2],
        ignore_eos=True,
        echo=True,
        logprobs=0,
        draft_tokens=0,
        policy="margin",
        threshold=0.75,
        request_id="me",
        resumable=False,
    )
    assert request == inference_pb2.GenerateRequest(
        model="pair",
        chat=inference_pb2.Chat(messages=[inference_pb2.ChatMessage(role="user", content="hi")]),
        sampling=inference_pb2.Sampling(
            temperature=0.5,
            top_k=1,
            top_p=0.25,
            min_p=0.125,
            seed=2**64 - 1,
            watermark_key=3,
            repetition_penalty=1.5,
            presence_penalty=0.5,
            frequency_penalty=-0.5,
            logit_bias={5: -100.0, 6: 0.5},
        ),
        max_tokens=7,
        min_tokens=3,
        stop=["a", "b"],
        stop_token_ids=[4, 2],
        ignore_eos=True,
        echo=True,
        logprobs=0,
        mode=inference_pb2.MODE_ROUTED,
        speculation=inference_pb2.Speculation(draft_tokens=0),
        routing=inference_pb2.Routing(policy="margin", threshold=0.75),
        request_id="me",
    )


@pytest.mark.parametrize("kind", ["json_schema", "regex", "lark"])
def test_a_text_has_one_form(kind: str) -> None:
    asked: Any = {kind: "x"}
    assert generate_request("hi", **asked).structure == inference_pb2.Structure(**asked)
    with pytest.raises(ValueError, match="one form"):
        generate_request("hi", json_schema="{}", regex="", lark="")


def test_zero_and_empty_are_not_unset() -> None:
    request = generate_request("", max_tokens=0, seed=0, temperature=0.0, threshold=0.0)
    assert request.HasField("prompt")
    assert request.HasField("max_tokens")
    assert request.sampling.HasField("seed")
    assert request.sampling.HasField("temperature")
    assert request.routing.HasField("threshold")
    assert not request.routing.HasField("large_share")
    assert generate_request("", large_share=0.0).routing.HasField("large_share")


@pytest.mark.parametrize("mode", ["large", "small", "speculative", "routed"])
def test_modes_go_by_name(mode: str) -> None:
    assert generate_request("hi", mode=mode).mode == inference_pb2.Mode.Value(f"MODE_{mode.upper()}")


@pytest.mark.parametrize(
    "wrong", [{"mode": "quick"}, {"seed": -1}, {"seed": 2**64}, {"max_tokens": 2**32}, {"stop": ["\udcff"]}]
)
def test_what_protobuf_cannot_carry_is_a_value_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        generate_request("hi", **wrong)


def test_tokens_may_be_the_prompt() -> None:
    assert generate_request(TokenIds(ids=[1, 2])).token_ids.ids == [1, 2]
