"""Completions and models, as OpenAI's own client asks for them and reads them."""

from typing import Any

from ringroad.actors.messages import Finish
from tests.gateway.openai.clients import MODEL, answered, client


async def test_a_text_goes_on(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        asking = ask.completions.create(model=MODEL, prompt="hi", stop=["X"])
        answer, submit = await answered(served, asking, b"okX!", Finish.LENGTH)
        assert bytes(submit.prompt) == b"hi"
        assert (submit.max_tokens, submit.sampling.temperature) == (16, 1)  # OpenAI's defaults
        (choice,) = answer.choices
        assert (choice.text, choice.finish_reason) == ("ok", "stop")
        assert answer.object == "text_completion"
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 3


async def test_it_comes_bit_by_bit(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        asking = ask.completions.create(model=MODEL, prompt="hi", stream=True, echo=True)
        stream, _ = await answered(served, asking)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].text for chunk in chunks) == "hiok"
        assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]


async def test_a_prompt_has_many_shapes(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        for prompt in ("hi", ["hi"], [*b"hi"], [[*b"hi"]]):
            asking = ask.completions.create(model=MODEL, prompt=prompt, echo=True)  # type: ignore[arg-type]
            answer, submit = await answered(served, asking)
            assert submit.prompt == [*b"hi"]
            assert answer.choices[0].text == "hiok"


async def test_logprobs_are_by_spelling(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        for stream in (False, True):
            asking = ask.completions.create(model=MODEL, prompt="hi", logprobs=2, stream=stream)
            answer: Any
            answer, _ = await answered(served, asking, "aé".encode())
            told = [answer] if not stream else [chunk async for chunk in answer]
            found = [choice.logprobs for one in told for choice in one.choices if choice.logprobs]
            assert [token for one in found for token in one.tokens] == [
                "a",
                "bytes:\\xc3",
                "bytes:\\xa9",
                "token_id:257",
            ]
            assert [n for one in found for n in one.token_logprobs] == [-0.5] * 4
            assert found[0].top_logprobs[0] == {"a": -0.5, "\0": -1.5}
            assert [at for one in found for at in one.text_offset] == [0, 1, 1, 2]


async def test_the_pair_is_a_model(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        (model,) = (await ask.models.list()).data
        assert (model.id, model.object, model.owned_by) == (MODEL, "model", "ringroad")
        assert await ask.models.retrieve(MODEL) == model
        told = model.to_dict()["ringroad"]
        assert isinstance(told, dict)
        assert told["modes"] == ["large", "small", "speculative", "routed"]
        assert told["policies"] == {"margin": 0.5, "entropy": 0.75, "step": 0.25, "cascade": 0.5}
