"""What goes wrong reaches OpenAI's client as the exception it has for that, and harms nobody else."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import openai
import pytest

from ringroad.actors.errors import RingroadError
from ringroad.actors.gateway.generation import Generation
from ringroad.actors.gateway.keys import Scope, new
from ringroad.actors.gateway.openai.errors import Cancelled, failure_of
from ringroad.actors.gateway.status import status_of
from ringroad.actors.messages import Cancel, Finish
from ringroad.v1 import control_pb2
from tests.gateway.keyring import entry, ring
from tests.gateway.openai.clients import MODEL, USER, answered, client, posted, url


def completing(ask: openai.AsyncOpenAI, **more: Any) -> Any:
    return ask.chat.completions.create(**({"model": MODEL, "messages": USER} | more))


async def test_a_wrong_parameter_is_400(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError) as refused:
                await completing(ask, temperature=11, stream=stream)
            assert (refused.value.param, refused.value.code) == ("temperature", "invalid_value")
            with pytest.raises(openai.BadRequestError) as refused:
                await completing(ask, tools=[{"type": "function", "function": {"name": "f"}}], stream=stream)
            assert (refused.value.param, refused.value.code) == ("tools", "unsupported_parameter")
            with pytest.raises(openai.BadRequestError) as refused:
                await completing(ask, extra_body={"temprature": 1}, stream=stream)
            assert (refused.value.param, refused.value.code) == ("temprature", "unknown_parameter")
        await answered(served, completing(ask))


async def test_keys_are_asked_for(serving: Any, tmp_path: Path) -> None:
    good, other = ring(tmp_path / "keys.toml", ["acme", "globex"])
    async with serving(http_port=0, keys_file=tmp_path / "keys.toml", key=good) as served:
        for wrong in ("none", good[:-1], ""):
            async with client(served, wrong or "x") as ask:
                with pytest.raises(openai.AuthenticationError) as refused:
                    await completing(ask)
                assert refused.value.code == "invalid_api_key"
                with pytest.raises(openai.AuthenticationError):
                    await ask.models.list()
        async with client(served, good) as ask, client(served, other) as stranger:
            assert (await ask.models.list()).data
            named = {"ringroad": {"request_id": "mine", "resumable": True}}
            await answered(served, completing(ask, extra_body=named), b"ab")
            answer, _ = await answered(served, completing(stranger, extra_body=named), b"cd")
            assert answer.choices[0].message.content == "cd"  # a name is within its tenant


async def test_a_key_for_other_things_is_403(serving: Any, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    token, key = new("acme", frozenset({Scope.CONTROL}))
    path.write_text(entry(key))
    async with serving(http_port=0, keys_file=path, key=token) as served, client(served, token) as ask:
        with pytest.raises(openai.PermissionDeniedError):
            await completing(ask)


async def test_a_model_of_another_name_is_404(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        for asking in (completing(ask, model="gpt"), ask.models.retrieve("org/gpt")):
            with pytest.raises(openai.NotFoundError) as refused:
                await asking
            assert (refused.value.param, refused.value.code) == ("model", "model_not_found")


async def test_another_request_of_a_known_name_is_409(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        named = {"ringroad": {"request_id": "mine", "resumable": True}}
        await answered(served, completing(ask, extra_body=named))
        with pytest.raises(openai.ConflictError):
            await completing(ask, extra_body=named, temperature=0.5)
        again = await completing(ask, extra_body=named)  # the same is the same generation
        assert again.choices[0].message.content == "ok"


async def test_a_name_that_nobody_knows_is_404(serving: Any) -> None:
    async with serving(http_port=0) as served:
        said = {"ringroad": {"request_id": "mine", "resume": {"next_offset": 1}}}
        status, _, body = await posted(served, "/chat/completions", said)
        assert (status, body["error"]["code"]) == (404, "not_found")


async def test_too_many_are_429_with_a_time(serving: Any) -> None:
    async with serving(http_port=0, max_sessions=1, max_waiting=0) as served, client(served) as ask:
        first = asyncio.create_task(completing(ask))
        submit = await served.router.submitted()
        with pytest.raises(openai.RateLimitError) as refused:
            await completing(ask)
        assert int(refused.value.response.headers["retry-after"]) >= 1
        assert int(refused.value.response.headers["retry-after-ms"]) >= 1000
        served.router.end(submit, 0, Finish.LENGTH, b"a")
        assert (await first).choices[0].message.content == "a"


async def test_a_tenant_past_its_limits_is_429_with_a_time(serving: Any, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    (key,) = ring(path, ["acme"], "[tenants.acme]\nmax_streams = 1\n")
    async with serving(http_port=0, keys_file=path, key=key) as served, client(served, key) as ask:
        first = asyncio.create_task(completing(ask))
        submit = await served.router.submitted()
        with pytest.raises(openai.RateLimitError, match="max_streams") as refused:
            await completing(ask, stream=True)
        assert int(refused.value.response.headers["retry-after"]) >= 1
        served.router.end(submit, 0, Finish.LENGTH, b"a")
        assert (await first).choices[0].message.content == "a"


def test_every_error_that_grpc_has_a_status_for_has_one_here() -> None:
    codes = set()
    for kind in every(RingroadError):
        error = kind.__new__(kind)
        error.__dict__.update(field="x", problem="x", retry_seconds=2, tenant="x", quota="x")
        status, failure = status_of(error), failure_of(error)
        internal = status.code is grpc.StatusCode.INTERNAL
        assert (failure.status == 500) == (internal and kind is not Cancelled), kind
        codes.add(failure.status)
        busy = status.code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
        assert failure.retry_seconds is not None or not busy, kind
    assert codes >= {400, 401, 403, 404, 409, 429, 503}


def every(kind: type[RingroadError]) -> set[type[RingroadError]]:
    return {kind, *(deeper for inner in kind.__subclasses__() for deeper in every(inner))}


async def test_nobody_to_speak_is_503_with_a_time(serving: Any) -> None:
    async with serving(http_port=0, roster=()) as served, client(served) as ask:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as refused:
                await completing(ask, stream=stream)
            assert refused.value.status_code == 503
            assert refused.value.response.headers["retry-after"] == "1"


async def test_a_failure_before_the_text_is_503(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as refused:
                await answered(served, completing(ask, stream=stream), b"", Finish.ERROR)
            assert refused.value.status_code == 503


async def test_a_failure_within_the_text_ends_the_stream_with_it(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        with pytest.raises(openai.InternalServerError) as refused:
            await answered(served, completing(ask), b"ab", Finish.ERROR)
        assert refused.value.status_code == 503
        stream, _ = await answered(served, completing(ask, stream=True), b"ab", Finish.ERROR)
        words = []

        async def read() -> None:
            async for chunk in stream:
                words.append(chunk.choices[0].delta.content)  # noqa: PERF401 - what came before the error

        with pytest.raises(openai.APIError, match="failed"):
            await read()
        assert words == ["", "ab"]


async def test_there_is_no_done_after_an_error(serving: Any) -> None:
    async with serving(http_port=0) as served, aiohttp.ClientSession() as session:
        body = {"messages": USER, "stream": True}
        asking = session.post(url(served, "/chat/completions"), json=body)
        response, _ = await answered(served, asking, b"ab", Finish.ERROR)
        events = (await response.text()).split("\n\n")
        assert events[-1] == ""
        assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "unavailable"


async def test_an_abort_by_somebody_else_is_told(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        for stream in (False, True):
            named = {"ringroad": {"request_id": f"mine-{stream}"}}
            asking = asyncio.create_task(completing(ask, extra_body=named, stream=stream))
            submit = await served.router.submitted()
            served.router.tokens(submit, 0, b"ab")
            await served.control.Abort(control_pb2.AbortRequest(request_id=f"mine-{stream}"))
            assert isinstance(await served.router.cancelled(), Cancel)
            served.router.end(submit, 2, Finish.CANCELLED)
            with pytest.raises(openai.APIError) as refused:
                async for _ in await asking:
                    pass
            assert refused.value.code == "cancelled"


async def test_a_deadline_that_passes_is_504_and_ends_it(serving: Any) -> None:
    async with serving(http_port=0) as served, client(served) as ask:
        soon = {"ringroad": {"timeout_seconds": 0.2}}
        for stream in (False, True):
            asking = asyncio.create_task(completing(ask, extra_body=soon, stream=stream))
            submit = await served.router.submitted()
            if stream:
                served.router.tokens(submit, 0, b"ab")
            with pytest.raises(openai.APIError) as refused:
                async for _ in await asking:
                    pass
            assert refused.value.code == "deadline_exceeded"
            assert (await served.router.cancelled()).session == submit.session
            served.router.end(submit, 2 * stream, Finish.CANCELLED)
            await served.until_load(0, 0)


async def test_an_error_that_nobody_meant_has_no_words(serving: Any, monkeypatch: Any, caplog: Any) -> None:
    words = "secret"  # a user's

    async def break_down(*_: Any) -> None:
        raise KeyError(words)

    async with serving(http_port=0) as served, client(served) as ask:
        monkeypatch.setattr(Generation, "generate", break_down)
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as refused:
                await completing(ask, stream=stream)
            assert refused.value.status_code == 500
            assert "secret" not in str(refused.value) + caplog.text
            assert "KeyError" in caplog.text


async def test_what_is_no_request_is_refused(serving: Any) -> None:
    async with serving(http_port=0, max_message_bytes=4096) as served:
        for body in (b"", b"{", b'"x"', b"[]", b'{"a": NaN}', b"\xff", b'{"messages": [' * 5000):
            status, _, said = await posted(served, "/chat/completions", body[:4000])
            assert (status, said["error"]["param"]) == (400, "body")
        status, _, said = await posted(served, "/chat/completions", b" " * 5000)
        assert (status, said["error"]["type"]) == (413, "invalid_request_error")
        status, _, said = await posted(served, "/embeddings", {})
        assert (status, said["error"]["message"]) == (404, "not found")
        status, _, said = await posted(served, "/models", {})
        assert status == 405
        # A page of another site may send this without asking first; it is not read.
        text = {"Content-Type": "text/plain"}
        status, headers, said = await posted(served, "/chat/completions", {"messages": USER}, **text)
        assert (status, "Access-Control-Allow-Origin" in headers) == (415, False)
        assert served.router.quiet
