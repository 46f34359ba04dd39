"""TLS of the gRPC port: none, a wrong or an old certificate stays out; a new one needs no restart."""

import logging
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ringroad.actors.gateway.certificates import Certificates
from ringroad.cluster.certs import Pair
from ringroad.v1 import inference_pb2, inference_pb2_grpc
from tests.gateway.security.certified import Folder, Shown
from tests.gateway.security.good import good_stream

SECONDS = 10.0


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def refused(served: Any, helpers: Any, shown: Shown) -> grpc.StatusCode:
    """What a connection that shows this gets of a call."""
    async with helpers.connected(served.gateway.port, shown.grpc) as channel:
        stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Tokenize(inference_pb2.TokenizeRequest(text="hi"), timeout=SECONDS)
        return caught.value.code()


async def served_again(served: Any, helpers: Any, shown: Shown) -> int:
    """How many tokens a new connection is told."""
    async with helpers.connected(served.gateway.port, shown.grpc) as channel:
        stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
        told = await stub.Tokenize(inference_pb2.TokenizeRequest(text="hi"), timeout=SECONDS)
        return len(told.token_ids)


@pytest.mark.parametrize("case", ["none", "expired", "another CA", "plaintext"])
async def test_only_certificates_of_the_ca_come_in(
    serving: Any, helpers: Any, folder: Folder, case: str
) -> None:
    strange = Pair.authority("strangers")
    bad = {
        "none": lambda: Shown(folder.path),
        "expired": lambda: folder.show("bad", folder.authority.client("bad", days=-1)),
        "another CA": lambda: folder.show("bad", strange.client("bad")),
    }
    async with serving(tls=folder.config(), credentials=folder.shown().grpc) as served:
        async with good_stream(served) as goes_on:
            if case == "plaintext":
                async with grpc.aio.insecure_channel(f"127.0.0.1:{served.gateway.port}") as channel:
                    stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await stub.Tokenize(inference_pb2.TokenizeRequest(text="hi"), timeout=SECONDS)
                    code = caught.value.code()
            else:
                code = await refused(served, helpers, bad[case]())
            assert code is grpc.StatusCode.UNAVAILABLE
            await goes_on()
        assert await served.complete() == "ok"


async def test_without_a_client_ca_a_key_is_enough(serving: Any, helpers: Any, folder: Folder) -> None:
    async with serving(tls=folder.config(mutual=False), credentials=Shown(folder.path).grpc) as served:
        assert await served.complete() == "ok"


async def test_a_client_knows_a_wrong_server(serving: Any, helpers: Any, folder: Folder) -> None:
    good = folder.shown().grpc
    async with serving(tls=folder.config(), credentials=good) as served:
        Pair.authority("strangers").write(folder.path / "ca")
        assert await refused(served, helpers, folder.shown()) is grpc.StatusCode.UNAVAILABLE
        assert await served.complete() == "ok"


async def test_certificates_change_without_a_restart(serving: Any, helpers: Any, folder: Folder) -> None:
    old = folder.shown().grpc
    async with (
        serving(tls=folder.config(), credentials=old) as served,
        good_stream(served) as goes_on,
    ):
        folder.renew(Pair.authority("renewed"))
        assert await served_again(served, helpers, folder.shown()) == 2
        await goes_on()  # on its old connection
        async with helpers.connected(served.gateway.port, old) as channel:
            stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Tokenize(inference_pb2.TokenizeRequest(text="hi"), timeout=SECONDS)


async def test_damaged_certificates_change_nothing(
    serving: Any, helpers: Any, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tls=folder.config(), credentials=folder.shown().grpc) as served:
        good = folder.path.joinpath("server.key").read_bytes()
        for damaged in (b"", b"-----BEGIN PRIVATE KEY-----", good[:60]):
            folder.path.joinpath("server.key").write_bytes(damaged)
            assert await served_again(served, helpers, folder.shown()) == 2
        Pair.authority().server(["127.0.0.1"]).write(folder.path / "other")
        folder.path.joinpath("server.key").write_bytes(folder.path.joinpath("other.key").read_bytes())
        with caplog.at_level(logging.ERROR):
            assert await served_again(served, helpers, folder.shown()) == 2
        assert "certificates stay as they were" in caplog.text
        folder.path.joinpath("server.key").unlink()
        assert await served_again(served, helpers, folder.shown()) == 2


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
def test_a_gateway_does_not_start_without_its_certificates(folder: Folder, name: str) -> None:
    file = folder.path / name
    file.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="tls: "):
        Certificates(folder.config())
    file.unlink()
    with pytest.raises(ValueError, match=f"{name}: No such file"):
        Certificates(folder.config())
