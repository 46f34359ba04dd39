"""Who asks over HTTP: for a stream of server-sent events, or for one object."""

import asyncio

import msgspec
from aiohttp import web

from ringroad.actors.errors import Unavailable
from ringroad.actors.gateway.caller import Caller
from ringroad.actors.gateway.openai.answers import Answers, Said
from ringroad.actors.gateway.openai.errors import Cancelled, Failure
from ringroad.actors.gateway.tenants import Tenant
from ringroad.v1 import inference_pb2

_DONE = b"data: [DONE]\n\n"
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


class HttpCaller(Caller):
    """`timeout`: seconds that the client gave it, if any."""

    def __init__(self, tenant: Tenant, answers: Answers, timeout: float | None) -> None:
        self.tenant = tenant
        self._answers = answers
        self._clock = asyncio.get_running_loop().time
        self._deadline = None if timeout is None else self._clock() + timeout

    def patience(self) -> float | None:
        """Of what the client gave it."""
        return None if self._deadline is None else self._deadline - self._clock()

    async def named(self, request_id: str) -> None:
        """In the header x-request-id, and in the id of all it says."""
        self._answers.request_id = request_id


class Reader(HttpCaller):
    """Who reads a stream. Its status is said with the first of its text; before that it may be another."""

    def __init__(self, http: web.Request, tenant: Tenant, answers: Answers, timeout: float | None) -> None:
        super().__init__(tenant, answers, timeout)
        self._http = http
        self.response: web.StreamResponse | None = None  # once it has begun

    async def write(self, answer: inference_pb2.GenerateResponse) -> None:
        """As chunks."""
        if answer.HasField("final"):
            check(answer.final)
        elif _is_cut_short(answer):
            return
        if self.response is None:
            headers = _HEADERS | {"X-Request-Id": self._answers.request_id}
            self.response = web.StreamResponse(headers=headers)
            await self.response.prepare(self._http)
        await self._send(*self._answers.chunks(answer))
        if answer.HasField("final"):
            await self.response.write_eof(_DONE)

    async def fail(self, failure: Failure) -> None:
        """Ends a stream that has begun: with an error, and without [DONE]."""
        assert self.response is not None
        await self._send(failure.body())
        await self.response.write_eof()

    async def _send(self, *events: Said) -> None:
        assert self.response is not None
        if data := b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events):
            await self.response.write(data)


class Collector(HttpCaller):
    """Who waits for the whole."""

    def __init__(self, tenant: Tenant, answers: Answers, timeout: float | None) -> None:
        super().__init__(tenant, answers, timeout)
        self._said: list[inference_pb2.GenerateResponse] = []

    async def write(self, answer: inference_pb2.GenerateResponse) -> None:
        """Kept until all is there."""
        if answer.HasField("final"):
            check(answer.final)
        self._said.append(answer)

    def response(self) -> web.Response:
        """The one object."""
        body = msgspec.json.encode(self._answers.whole(self._said))
        headers = {"X-Request-Id": self._answers.request_id}
        return web.Response(body=body, content_type="application/json", headers=headers)


def _is_cut_short(answer: inference_pb2.GenerateResponse) -> bool:
    """Whether a sample was cut short: the final, which comes at last, says how."""
    cut_short = inference_pb2.FINISH_REASON_CANCELLED, inference_pb2.FINISH_REASON_ERROR
    return answer.HasField("sample_end") and answer.sample_end.finish_reason in cut_short


def check(final: inference_pb2.Final) -> None:
    """Raises what an ending is that OpenAI's finish reasons have no word for: Cancelled, Unavailable."""
    if final.finish_reason == inference_pb2.FINISH_REASON_CANCELLED:
        raise Cancelled("the request was aborted")
    if final.finish_reason == inference_pb2.FINISH_REASON_ERROR:
        raise Unavailable(final.error or "the cluster failed")
