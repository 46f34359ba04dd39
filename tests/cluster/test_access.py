"""Clients of a gateway that asks who they are: by options, by the environment, on the command line."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringroad.actors.gateway.keys import Scope, new
from ringroad.actors.messages import Finish
from ringroad.cluster.access import Access
from ringroad.cluster.certs import develop
from ringroad.cluster.client import AsyncClient, CallFailed, Client, Final, Patience
from tests.gateway import conftest as gateways
from tests.gateway.keyring import entry

NOW = Patience(begin=0.3)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RINGROAD_")]:
        monkeypatch.delenv(name)


class Guarded:
    """A gateway with mTLS and keys on a thread of its own; it answers everything with "ok"."""

    def __init__(self, folder: Path) -> None:
        develop(folder / "certs", ["127.0.0.1"])
        self.folder = folder / "certs"
        self.key, known = new("acme", frozenset({Scope.GENERATE}))
        self.keys = folder / "keys.toml"
        self.keys.write_text(entry(known))
        self.target = ""
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    @property
    def access(self) -> Access:
        certs = self.folder
        mine = {"certificate": certs / "client.pem", "private_key": certs / "client.key"}
        return Access(self.key, ca=certs / "ca.pem", **mine)

    def __enter__(self) -> "Guarded":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        tls = {"certificate": self.folder / "server.pem", "key": self.folder / "server.key"}
        everything, known = new("acme", frozenset(Scope))
        self.keys.write_text(self.keys.read_text() + entry(known))
        async with gateways._serving(
            tls=tls | {"client_ca": self.folder / "ca.pem"},
            keys_file=self.keys,
            key=everything,
            credentials=self.access.credentials(),
        ) as served:
            answers = asyncio.create_task(self._answer(served))
            self.target = f"127.0.0.1:{served.gateway.port}"
            self._ready.set()
            await self._stop.wait()
            answers.cancel()

    async def _answer(self, served: Any) -> None:
        while True:
            submit = await served.router._submits.get()
            served.router.end(submit, 0, Finish.STOP, [*b"ok", gateways.END])


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    with Guarded(tmp_path) as gateway:
        yield gateway


def said(client: Client) -> str:
    return "".join(event.text for event in client.generate("hi") if not isinstance(event, Final))


def test_a_client_shows_its_key_and_its_certificate(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(guarded.target, access=guarded.access) as client:
        assert said(client) == "ok"
        assert client.ready()
        assert not client.abort("nothing")
        with pytest.raises(CallFailed, match="scope control"):
            client.server_info()
    certs = guarded.folder
    monkeypatch.setenv("RINGROAD_API_KEY", guarded.key)
    for name, file in (("CA", "ca.pem"), ("CERT", "client.pem"), ("KEY", "client.key")):
        monkeypatch.setenv(f"RINGROAD_TLS_{name}", str(certs / file))
    with Client(guarded.target) as client:
        assert said(client) == "ok"

    async def all_said() -> str:
        async with AsyncClient(guarded.target) as client:
            events = [event async for event in client.generate("hi")]
            return "".join(event.text for event in events if not isinstance(event, Final))

    assert asyncio.run(all_said()) == "ok"
    monkeypatch.setenv("RINGROAD_API_KEY", "rr_00000000_wrong")
    with Client(guarded.target) as client, pytest.raises(CallFailed, match="API key") as caught:
        said(client)
    assert caught.value.code.name == "UNAUTHENTICATED"


def test_who_shows_no_certificate_hears_nothing(guarded: Guarded) -> None:
    for access in (Access(guarded.key), Access(guarded.key, ca=guarded.folder / "ca.pem")):
        with Client(guarded.target, NOW, access) as client, pytest.raises(CallFailed) as caught:
            said(client)
        assert caught.value.code.name == "UNAVAILABLE"


def test_the_command_takes_files_and_never_a_key(guarded: Guarded, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(f"{guarded.key}\n")
    certs = guarded.folder
    files = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}
    words = [word for name, file in files.items() for word in (f"--tls-{name}", str(certs / file))]
    command = [sys.executable, "-m", "ringroad.cluster.cli", "generate", "hi", "--raw"]
    command += ["--target", guarded.target]

    def run(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*command, *more], capture_output=True, text=True, timeout=60, cwd=tmp_path)

    done = run(*words, "--api-key-file", str(key))
    assert (done.returncode, done.stdout) == (0, "ok"), done.stderr
    assert run(*words).returncode == 6
    assert run(*words[:4]).returncode == 2
    key.write_text("rr_00000000_wrong")
    refused = run(*words, "--api-key-file", str(key))
    assert refused.returncode == 6
    assert "rr_00000000" not in refused.stderr
    missing = run("--api-key-file", str(tmp_path / "none"))
    assert missing.returncode == 2
    assert "none: No such file" in missing.stderr


def test_what_is_given_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Access.found() == Access()
    assert Access().credentials() is None
    file = tmp_path / "key"
    file.write_text("of the file\n")
    monkeypatch.setenv("RINGROAD_API_KEY", "of the environment")
    assert Access.found().metadata == (("authorization", "Bearer of the environment"),)
    assert Access.found(api_key_file=file).api_key == "of the file"
    monkeypatch.setenv("RINGROAD_TLS", "0")
    assert not Access.found().secure
    monkeypatch.setenv("RINGROAD_TLS", "1")
    assert Access.found().secure
    with pytest.raises(ValueError, match="both or none"):
        Access(certificate=file).credentials()
    assert "of the environment" not in repr(Access.found())
