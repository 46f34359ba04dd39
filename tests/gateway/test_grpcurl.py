"""What anybody with grpcurl finds out and does, with no file of ours: by reflection and health alone."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from ringroad.actors.messages import Finish

SERVICES = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
    "ringroad.v1.ControlService",
    "ringroad.v1.InferenceService",
    "vllm.grpc.engine.VllmEngine",
}


async def grpcurl(served: Any, helpers: Any, *arguments: str) -> str:
    program = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or shutil.which("grpcurl")
    assert program is not None
    data, rest = (arguments[:2], arguments[2:]) if arguments[0] == "-d" else ((), arguments)
    process = await asyncio.create_subprocess_exec(
        program,
        "-plaintext",
        *data,
        f"127.0.0.1:{served.gateway.port}",
        *rest,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 6 * helpers.SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def test_every_service_is_found_and_described(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        assert set((await grpcurl(served, helpers, "list")).split()) == SERVICES
        for service in SERVICES - {"grpc.reflection.v1alpha.ServerReflection"}:
            assert service.rpartition(".")[2] in await grpcurl(served, helpers, "describe", service)


async def test_health_of_each(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        for service in ("", *(name for name in SERVICES if not name.startswith("grpc."))):
            data = json.dumps({"service": service})
            said = await grpcurl(served, helpers, "-d", data, "grpc.health.v1.Health/Check")
            assert json.loads(said) == {"status": "SERVING"}


async def test_a_text(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        method = "ringroad.v1.InferenceService/Generate"
        asked = asyncio.create_task(grpcurl(served, helpers, "-d", json.dumps({"prompt": "hi"}), method))
        submit = await asyncio.wait_for(served.router.submitted(), 6 * helpers.SECONDS)
        served.router.end(submit, 0, Finish.STOP, b"ho")
        said = await asked
        assert '"text": "ho"' in said
        assert '"finish_reason": "FINISH_REASON_STOP"' in said
