"""Log-probabilities on their way to the client."""

from typing import Any

from ringroad.actors.messages import Chunk, Finish, Logprob, Speaker
from ringroad.v1.inference_pb2 import GenerateRequest


async def test_logprobs_come_with_their_tokens(serving: Any, helpers: Any) -> None:
    """Also where a token is held back, and where chunks pile up or come twice."""
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", logprobs=2, stop=["xyz"]))
        submit = await served.router.submitted()
        assert submit.sampling.logprobs == 2
        said = [Logprob(-float(at), [at, at + 1], [-0.5, -float(at)]) for at in range(6)]
        for first, stop in ((0, 2), (2, 3), (1, 5), (5, 6)):
            tokens, speakers = [*b"abxyab"[first:stop]], [Speaker.LARGE] * (stop - first)
            served.router.say(
                Chunk(submit.session, first, tokens, speakers, logprobs=said[first:stop])  # the third again
            )
        served.router.end(submit, 6, Finish.LENGTH)
        found = []
        while (response := await call.read()).HasField("delta"):
            assert len(response.delta.logprobs) == len(response.delta.token_ids)
            found += response.delta.logprobs
        assert [each.logprob for each in found] == [0, -1, -2, -3, -4, -5]
        assert [(top.token_id, top.logprob) for top in found[3].top] == [(3, -0.5), (4, -3)]
