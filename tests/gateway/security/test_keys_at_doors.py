"""Keys at the gRPC doors: who has none, or not the right one, is refused; a good client notices nothing."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from ringroad.actors.gateway.keys import Scope, new
from ringroad.v1 import control_pb2, inference_pb2
from tests.gateway.keyring import ALL, entry, expired
from tests.gateway.security.good import good_stream

METHODS = {
    "Generate": (inference_pb2.GenerateRequest(prompt="hi"), Scope.GENERATE),
    "Tokenize": (inference_pb2.TokenizeRequest(text="hi"), Scope.GENERATE),
    "ListModels": (control_pb2.ListModelsRequest(), Scope.GENERATE),
    "Abort": (control_pb2.AbortRequest(request_id="mine"), Scope.GENERATE),
    "GetServerInfo": (control_pb2.GetServerInfoRequest(), Scope.CONTROL),
    "GetLoad": (control_pb2.GetLoadRequest(), Scope.CONTROL),
}


async def code_of(served: Any, helpers: Any, name: str, key: str) -> grpc.StatusCode:
    stub = served.inference if hasattr(served.inference, name) else served.control
    call = getattr(stub, name)(METHODS[name][0], metadata=helpers.bearer(key))
    code, _ = await helpers.failure(call)
    return code  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", ["none", "wrong", "revoked", "expired", "no bearer"])
async def test_who_has_no_valid_key_is_not_let_in(
    serving: Any, helpers: Any, tmp_path: Path, case: str
) -> None:
    path = tmp_path / "keys.toml"
    (good, known), (old, gone), (late, over) = new("acme", ALL), new("acme", ALL), expired()
    path.write_text(entry(known) + entry(gone, revoked=True) + entry(over))
    bad = {"none": "", "wrong": new("acme", ALL)[0], "revoked": old, "expired": late, "no bearer": "x"}[case]
    async with (
        serving(keys_file=path, key=good) as served,
        good_stream(served) as goes_on,
    ):
        for name in METHODS:
            assert await code_of(served, helpers, name, bad) is grpc.StatusCode.UNAUTHENTICATED
            await goes_on()


@pytest.mark.parametrize("scope", Scope)
async def test_a_key_is_good_for_its_scopes_only(
    serving: Any, helpers: Any, tmp_path: Path, scope: Scope
) -> None:
    path = tmp_path / "keys.toml"
    (good, known), (narrow, single) = new("acme", ALL), new("acme", frozenset({scope}))
    path.write_text(entry(known) + entry(single))
    async with (
        serving(keys_file=path, key=good) as served,
        good_stream(served) as goes_on,
    ):
        for name, (request, wanted) in METHODS.items():
            if wanted is not scope:
                code = await code_of(served, helpers, name, narrow)
                assert code is grpc.StatusCode.PERMISSION_DENIED, name
            elif name != "Generate":
                stub = served.inference if hasattr(served.inference, name) else served.control
                await getattr(stub, name)(request, metadata=helpers.bearer(narrow))
            await goes_on()


async def test_a_key_that_is_revoked_is_refused_from_the_next_call_on(
    serving: Any, helpers: Any, tmp_path: Path
) -> None:
    path = tmp_path / "keys.toml"
    (good, known), (other, second) = new("acme", ALL), new("globex", ALL)
    path.write_text(entry(known))
    async with (
        serving(keys_file=path, key=good) as served,
        good_stream(served) as goes_on,
    ):
        assert await code_of(served, helpers, "Tokenize", other) is grpc.StatusCode.UNAUTHENTICATED
        path.write_text(entry(known) + entry(second))
        await served.inference.Tokenize(METHODS["Tokenize"][0], metadata=helpers.bearer(other))
        path.write_text(entry(known) + entry(second, revoked=True))
        assert await code_of(served, helpers, "Tokenize", other) is grpc.StatusCode.UNAUTHENTICATED
        await goes_on()


async def test_health_and_reflection_need_no_key(serving: Any, helpers: Any, tmp_path: Path) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    path = tmp_path / "keys.toml"
    good, known = new("acme", ALL)
    path.write_text(entry(known))
    async with serving(keys_file=path, key=good) as served:
        told = await health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest())
        assert told.status == health_pb2.HealthCheckResponse.SERVING


async def test_who_is_refused_is_not_read(serving: Any, helpers: Any, tmp_path: Path) -> None:
    """A message that nobody could parse, or that is too large, is none of a stranger's business, either."""
    path = tmp_path / "keys.toml"
    good, known = new("acme", ALL)
    path.write_text(entry(known))
    async with serving(keys_file=path, key=good) as served:
        raw = served.channel.unary_unary("/ringroad.v1.InferenceService/Tokenize")
        for message in (b"\xff\xff", b"x" * 1000):
            assert (await helpers.failure(raw(message)))[0] is grpc.StatusCode.UNAUTHENTICATED
            known_caller = raw(message, metadata=served.metadata)
            assert (await helpers.failure(known_caller))[0] is grpc.StatusCode.INVALID_ARGUMENT
