"""Nothing that a client says is logged, nor shown to operators, whatever goes wrong."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest

from ringroad.actors.engine.engine import Engine
from ringroad.actors.messages import Chunk, Consult, Finish, Open, Sampling, Speaker
from ringroad.actors.verifier.verifier import Verifier
from ringroad.v1 import control_pb2, inference_pb2
from tests.engine.tiny import tiny
from tests.gateway.keyring import ring
from tests.gateway.ledgers import MemoryLedger, Store

SECRET = "xyzzy"  # in all that is said


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    assert SECRET not in caplog.text
    assert str([*SECRET.encode()])[1:-1] not in caplog.text  # as tokens


async def ask(served: Any, request: inference_pb2.GenerateRequest) -> str:
    """What a request ends in; a router has it fail if it comes that far."""
    call = served.inference.Generate(request, metadata=served.metadata)
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"


async def test_no_log_holds_what_a_client_says(
    serving: Any, helpers: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.toml"
    (key,) = ring(path, ["acme"])
    ports = {"http_port": 0, "admin_port": 0}
    ledger = MemoryLedger(Store(), "here")
    async with serving(keys_file=path, key=key, ledger=ledger, **ports) as served:
        assert await served.complete(prompt=SECRET, stop=[SECRET], cache_salt=SECRET) == "ok"
        call = served.inference.Generate(
            inference_pb2.GenerateRequest(prompt=SECRET, request_id="mine", resumable=True),
            metadata=served.metadata,
        )
        submit = await served.router.submitted()
        said = [*SECRET.encode()]
        served.router.tokens(submit, 0, said)
        await call.read()
        call.cancel()
        assert submit.session.startswith("acme/mine")
        lost = Chunk(submit.session, 99, said, [Speaker.LARGE] * len(said), Finish.ERROR, error=SECRET)
        served.router.say(lost)
        chat = inference_pb2.Chat(messages=[inference_pb2.ChatMessage(role=SECRET, content=SECRET)])
        wrong: list[dict[str, Any]] = [
            {"prompt": SECRET, "model": SECRET},
            {"chat": chat},
            {"prompt": SECRET, "structure": {"lark": f"start: {SECRET}"}},
            {"prompt": SECRET, "structure": {"regex": f"({SECRET}"}},
            {"prompt": SECRET, "routing": {"policy": SECRET}},
            {"prompt": SECRET, "request_id": f"{SECRET}/"},
        ]
        for fields in wrong:
            assert await ask(served, inference_pb2.GenerateRequest(**fields)) == "INVALID_ARGUMENT"
        abort = control_pb2.AbortRequest(request_id=SECRET)
        await served.control.Abort(abort, metadata=served.metadata)
        served.metadata = helpers.bearer(SECRET)
        assert await ask(served, inference_pb2.GenerateRequest(prompt=SECRET)) == "UNAUTHENTICATED"
        served.metadata = helpers.bearer(key)
        headers = {"Authorization": f"Bearer {key}", "X-Secret": SECRET}
        urls = f"http://127.0.0.1:{served.gateway.http_port}", f"http://127.0.0.1:{served.gateway.admin_port}"
        async with aiohttp.ClientSession(headers=headers) as session:
            for body in ({"model": "toy", "messages": SECRET}, {"model": SECRET, SECRET: SECRET}):
                async with session.post(f"{urls[0]}/v1/chat/completions", json=body) as response:
                    assert response.status in (400, 404)
            async with session.get(f"{urls[0]}/{SECRET}") as response:
                assert response.status == 404
            for page in ("/metrics", "/readyz", f"/{SECRET}"):
                async with session.get(urls[1] + page) as response:
                    told = await response.text()
                    assert page.endswith(SECRET) or SECRET not in told
    assert key not in caplog.text


async def test_an_error_that_nobody_meant_is_logged_without_its_words(
    serving: Any, helpers: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError(SECRET)

    async with serving(http_port=0) as served:
        monkeypatch.setattr("ringroad.actors.gateway.generation.digest_of", broken)
        assert await ask(served, inference_pb2.GenerateRequest(prompt=SECRET)) == "INTERNAL"
        url = f"http://127.0.0.1:{served.gateway.http_port}/v1/completions"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json={"model": "toy", "prompt": SECRET}) as response,
        ):
            assert response.status == 500
            assert SECRET not in await response.text()
    assert caplog.text.count("ZeroDivisionError") >= 2
    assert "in broken" in caplog.text


def test_a_session_that_is_given_up_is_logged_without_its_words(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = Verifier(Engine(tiny("fp32")), "large")
    role.receive(Open("s", 0, Sampling()))
    role.receive(Consult("s", 0, 0, [1, 2, 3]))

    def broken(*_: object) -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(role._engine, "step", broken)
    (failed,) = role.rescue()
    assert SECRET not in str(failed)
    assert "ZeroDivisionError" in caplog.text
