"""Where a text ends by a token, from where on a string may end it, and what comes before it."""

from typing import Any

import pytest

from ringroad.actors.gateway.text import StoppingText
from ringroad.actors.messages import Cancel, Finish
from ringroad.v1 import inference_pb2
from ringroad.v1.inference_pb2 import GenerateRequest


@pytest.mark.parametrize("asked", [{}, {"stop": ["never"]}, {"ignore_eos": True}])
async def test_the_text_ends_before_a_stop_token(serving: Any, helpers: Any, asked: dict[str, Any]) -> None:
    """The token is among the tokens, as the model's own end is."""
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", stop_token_ids=[b"!"[0]], **asked))
        submit = await served.router.submitted()
        served.router.end(submit, 0, Finish.STOP, b"ok!")
        text, final = await helpers.read(call)
        assert (text, final.usage.completion_tokens) == ("ok", 3)
        assert final.finish_reason == inference_pb2.FINISH_REASON_STOP


async def test_a_stop_string_counts_behind_the_first_min_tokens(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        asked = GenerateRequest(prompt="hi", stop=["ab"], min_tokens=4)
        call = served.inference.Generate(asked)
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"xab")
        served.router.tokens(submit, 3, b"ab")  # it begins in the first four
        served.router.tokens(submit, 5, b"ab")
        assert await served.router.cancelled() == Cancel(submit.session, Finish.STOP)
        served.router.end(submit, 7, Finish.STOP)
        text, final = await helpers.read(call)
        assert (text, final.usage.completion_tokens) == ("xabab", 7)


@pytest.mark.parametrize("least", range(9))
def test_pieces_do_not_matter(helpers: Any, least: int) -> None:
    tokens, tokenizer = b"aabababxaba", helpers.toy_tokenizer()
    whole = StoppingText(tokenizer, ["ba"], [b"x"[0]], least)
    text, count, stopped = whole.push(tokens)
    assert stopped
    free, rest = tokens[:least].replace(b"x", b""), tokens[least:].replace(b"x", b"")
    assert text == (free + rest[: rest.index(b"ba")]).decode()
    pieces = StoppingText(tokenizer, ["ba"], [b"x"[0]], least)
    assert "".join(pieces.push(tokens[i : i + 1]).text for i in range(count)) == text


async def test_the_prompt_comes_with_the_first_delta(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        asked = GenerateRequest(prompt="<|im_start|>né", echo=True, stop=["n"])
        call = served.inference.Generate(asked)
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"o")
        first = (await call.read()).delta
        assert (first.prompt, first.text) == ("né", "o")
        assert list(first.prompt_token_ids) == submit.prompt == [256, *"né".encode()]
        served.router.end(submit, 1, Finish.LENGTH, b"k")
        second = (await call.read()).delta
        assert (second.text, second.HasField("prompt"), len(second.prompt_token_ids)) == ("k", False, 0)
        assert (await call.read()).final.usage.completion_tokens == 2


async def test_without_echo_there_is_no_prompt(serving: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        served.router.end(await served.router.submitted(), 0, Finish.LENGTH, b"k")
        first = (await call.read()).delta
        assert not first.HasField("prompt")
        assert not first.prompt_token_ids
        assert (await call.read()).HasField("final")
