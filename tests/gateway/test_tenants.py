"""Tenants of one gateway: none reads, ends or hinders what another asked for, nor learns of it."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from ringroad.actors.gateway.naming import MAX_SALT_CHARACTERS, salt_of
from ringroad.actors.messages import Cancel, Finish
from ringroad.v1 import control_pb2
from ringroad.v1.inference_pb2 import GenerateRequest, Resume
from tests.gateway.keyring import ring
from tests.gateway.ledgers import MemoryLedger, Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def asked(**more: Any) -> GenerateRequest:
    return GenerateRequest(**({"prompt": "hi", "request_id": "mine", "resumable": True} | more))


def resumed() -> GenerateRequest:
    return GenerateRequest(request_id="mine", resume=Resume(next_offset=0), resumable=True)


async def test_a_name_means_ones_own_request(serving: Any, helpers: Any, path: Path) -> None:
    acme, globex = ring(path, ["acme", "globex"])
    async with serving(keys_file=path, key=acme) as served:
        calls = {}
        for key, text in ((acme, b"ab"), (globex, b"cd")):
            calls[key] = served.inference.Generate(asked(), metadata=helpers.bearer(key))
            submit = await served.router.submitted()  # each is begun: they are not one
            served.router.end(submit, 0, Finish.LENGTH, text)
            assert dict(await calls[key].initial_metadata())["ringroad-request-id"] == "mine"
        for key, text in ((acme, "ab"), (globex, "cd")):
            read, final = await helpers.read(calls[key])
            assert (read, final.request_id) == (text, "mine")
            again = served.inference.Generate(resumed(), metadata=helpers.bearer(key))
            assert (await helpers.read(again))[0] == text


async def test_nobody_reads_or_ends_what_another_tenant_asked_for(
    serving: Any, helpers: Any, path: Path
) -> None:
    acme, globex, same = ring(path, ["acme", "globex", "acme"])
    abort = control_pb2.AbortRequest(request_id="mine")
    async with serving(keys_file=path, key=acme) as served:
        call = served.inference.Generate(asked(), metadata=helpers.bearer(acme))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"ab")
        await call.read()
        for guess in ("mine", "acme/mine", submit.session):
            request = GenerateRequest(request_id=guess, resume=Resume(next_offset=0))
            stolen = served.inference.Generate(request, metadata=helpers.bearer(globex))
            code, _ = await helpers.failure(stolen)
            assert code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
            assert "globex" not in await stolen.details()  # nor are names within told
            ending = control_pb2.AbortRequest(request_id=guess)
            assert not (await served.control.Abort(ending, metadata=helpers.bearer(globex))).aborted
        assert served.router.quiet
        assert (await served.control.Abort(abort, metadata=helpers.bearer(same))).aborted
        assert await served.router.cancelled() == Cancel(submit.session)


async def test_a_ledger_keeps_tenants_apart(serving: Any, helpers: Any, path: Path) -> None:
    acme, globex = ring(path, ["acme", "globex"])
    store = Store()
    async with serving(keys_file=path, key=acme, ledger=MemoryLedger(store, "first")) as served:
        call = served.inference.Generate(asked(), metadata=served.metadata)
        served.router.end(await served.router.submitted(), 0, Finish.LENGTH, b"ab")
        assert (await helpers.read(call))[0] == "ab"
    assert list(store.rows) == ["acme/mine"]
    async with serving(keys_file=path, key=acme, ledger=MemoryLedger(store, "second")) as served:
        stolen = served.inference.Generate(resumed(), metadata=helpers.bearer(globex))
        assert (await helpers.failure(stolen))[0] is grpc.StatusCode.NOT_FOUND
        assert (await helpers.read(served.inference.Generate(resumed(), metadata=served.metadata)))[0] == "ab"


async def test_computed_texts_are_shared_by_one_tenants_requests_of_one_salt(
    serving: Any, helpers: Any, path: Path
) -> None:
    acme, globex = ring(path, ["acme", "globex"])
    salts = {}
    async with serving(keys_file=path, key=acme) as served:
        for key, salt in ((acme, ""), (acme, "x"), (globex, ""), (globex, "x"), (acme, "x")):
            request = GenerateRequest(prompt="hi", cache_salt=salt)
            call = served.inference.Generate(request, metadata=helpers.bearer(key))
            submit = await served.router.submitted()
            served.router.end(submit, 0, Finish.STOP, [helpers.END])
            await helpers.read(call)
            assert salts.setdefault((key, salt), submit.salt) == submit.salt
    assert len(set(salts.values())) == 4
    assert all(len(salt) == 16 for salt in salts.values())


async def test_who_is_not_asked_shares_with_everybody_but_by_salt(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        for salt in ("", "x"):
            call = served.inference.Generate(GenerateRequest(prompt="hi", cache_salt=salt))
            submit = await served.router.submitted()
            assert bool(submit.salt) == bool(salt)
            call.cancel()
        too_long = GenerateRequest(prompt="hi", cache_salt="x" * (MAX_SALT_CHARACTERS + 1))
        code, detail = await helpers.failure(served.inference.Generate(too_long))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert detail.field_violations[0].field == "cache_salt"


def test_a_salt_is_of_both_tenant_and_request() -> None:
    assert len({salt_of("a", "b/c"), salt_of("a.b", "c"), salt_of("", "a/b/c"), salt_of("a", "b"), b""}) == 5
