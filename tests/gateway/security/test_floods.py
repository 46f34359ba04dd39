"""What is too large, too much or too often is shed with the right status; a good client notices nothing."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from ringroad.v1 import inference_pb2
from tests.gateway.keyring import ring
from tests.gateway.security.good import SECONDS, good_stream

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_oversized_message_is_refused(serving: Any, helpers: Any) -> None:
    async with serving(max_message_bytes=10_000) as served, good_stream(served) as goes_on:
        large = inference_pb2.GenerateRequest(prompt="x" * 10_001)
        assert (await helpers.failure(served.inference.Generate(large)))[0] is EXHAUSTED
        await goes_on()
        assert await served.complete() == "ok"


async def test_ten_thousand_bytes_of_metadata_are_refused(serving: Any, helpers: Any) -> None:
    async with serving() as served, good_stream(served) as goes_on:
        text = inference_pb2.TokenizeRequest(text="hi")
        many = [(f"x-{i}", "x" * 90) for i in range(100)]
        for metadata in ([("x-long", "x" * 10_000)], many):
            for _ in range(5):  # not by chance
                call = served.inference.Tokenize(text, metadata=metadata)
                assert (await helpers.failure(call))[0] is EXHAUSTED
            await goes_on()
        assert await served.complete() == "ok"


async def test_a_flood_of_opens_and_cancels_leaves_nothing(
    serving: Any, helpers: Any, tmp_path: Path
) -> None:
    """From a connection of its own: what is opened is cancelled at once, or after it was submitted."""
    path = tmp_path / "keys.toml"
    bad, good = ring(path, ["bad", "good"])
    async with (
        serving(keys_file=path, key=good, max_sessions=8, max_waiting=8) as served,
        good_stream(served) as goes_on,
        helpers.connected(served.gateway.port) as channel,
    ):
        generate = channel.unary_stream(
            "/ringroad.v1.InferenceService/Generate",
            request_serializer=inference_pb2.GenerateRequest.SerializeToString,
        )
        request = inference_pb2.GenerateRequest(prompt="hi")
        for wave in range(20):
            calls = [generate(request, metadata=helpers.bearer(bad)) for _ in range(100)]
            if wave % 2:
                await asyncio.sleep(0)
            else:
                await asyncio.wait_for(calls[0].initial_metadata(), SECONDS)
            for call in calls:
                call.cancel()
            await goes_on()
        async with asyncio.timeout(SECONDS):
            while await served.load() != (1, 0):  # the good one
                pass
        await goes_on()


async def test_streams_of_a_connection_are_bounded(serving: Any, helpers: Any) -> None:
    """One beyond them is not begun; another connection has its own."""
    async with (
        serving(limits={"streams_per_connection": 2}) as served,
        helpers.connected(served.gateway.port) as channel,
    ):
        request = inference_pb2.GenerateRequest(prompt="hi")
        calls = [served.inference.Generate(request) for _ in range(2)]
        for _ in calls:
            await served.router.submitted()
        third = served.inference.Generate(request, timeout=0.5)
        assert (await helpers.failure(third))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        assert served.router.quiet
        tokenize = channel.unary_unary(
            "/ringroad.v1.InferenceService/Tokenize",
            request_serializer=inference_pb2.TokenizeRequest.SerializeToString,
        )
        await asyncio.wait_for(tokenize(inference_pb2.TokenizeRequest(text="hi")), SECONDS)
        for call in calls:
            call.cancel()


async def test_who_pings_too_often_is_sent_away(serving: Any, helpers: Any) -> None:
    """gRPC's own GOAWAY; the same as often as clients of ours do it is fine."""
    async with serving(limits={"ping_seconds": 5.0}) as served, good_stream(served) as goes_on:
        options = [
            ("grpc.keepalive_time_ms", 20),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        target = f"127.0.0.1:{served.gateway.port}"
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            generate = channel.unary_stream(
                "/ringroad.v1.InferenceService/Generate",
                request_serializer=inference_pb2.GenerateRequest.SerializeToString,
            )
            call = generate(inference_pb2.GenerateRequest(prompt="hi"))
            await served.router.submitted()
            code, _ = await helpers.failure(call)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert await call.details() == "Too many pings"
        await goes_on()


async def test_a_connection_grows_no_older_than_it_may(serving: Any, helpers: Any) -> None:
    limits = {"connection_seconds": 0.3, "connection_grace_seconds": 0.3}
    async with serving(limits=limits) as served:
        call = served.inference.Generate(inference_pb2.GenerateRequest(prompt="hi"))
        await served.router.submitted()
        assert (await helpers.failure(call))[0] is grpc.StatusCode.UNAVAILABLE
        assert await served.complete() == "ok"


async def test_a_connection_that_never_speaks_is_closed(serving: Any) -> None:
    async with serving(limits={"header_seconds": 0.3}) as served, good_stream(served) as goes_on:
        for begun in (b"", b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.gateway.port)
            writer.write(begun)
            async with asyncio.timeout(SECONDS):
                while await reader.read(1000):  # the server's settings, then its end
                    pass
            writer.close()
            await goes_on()
