"""Real clusters for the end-to-end tests: Ray, ZeroMQ and gRPC on loopback, as `ringroad up` starts them."""

import io
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from ringroad.cluster import daemon
from ringroad.cluster.client import Client, Delta, user
from ringroad.cluster.config import load_config
from ringroad.cluster.processes import Family
from ringroad.v1.inference_pb2 import FinishReason, Speaker, Usage


@dataclass
class Text:
    """What a stream brought."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    speakers: list[str] = field(default_factory=list)
    finish: str = ""
    usage: Usage = field(default_factory=Usage)


@dataclass
class Cluster:
    """A running cluster."""

    target: str
    http: str  # of OpenAI's API, at the first gateway
    family: Family

    def replica(self, deployment: str) -> psutil.Process:
        """The process of a deployment's only replica."""
        (found,) = self.replicas(deployment)
        return found

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """The processes of a deployment."""
        return [p for p in self.family.alive() if f":{deployment}" in " ".join(p.cmdline())]

    def generate(self, prompt: str, timeout: float = 120.0, **options: object) -> Text:
        """One text; any number of deltas, offsets without a gap, then exactly one final."""
        got = Text()
        with Client(self.target) as client:
            for event in client.generate(user(prompt), timeout=timeout, **options):  # type: ignore[arg-type]
                assert not got.finish, "something came after the final"
                if isinstance(event, Delta):
                    assert event.offset == len(got.ids)
                    got.ids += event.token_ids
                    got.text += event.text
                    got.speakers += [Speaker.Name(s).removeprefix("SPEAKER_") for s in event.speakers]
                else:
                    got.finish = FinishReason.Name(event.finish_reason).removeprefix("FINISH_REASON_")
                    got.usage = event.usage
        assert got.finish
        return got


def _free(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        with ExitStack() as taken:
            port = 0
            try:
                for _ in range(count):
                    each = taken.enter_context(socket.socket())
                    each.bind(("127.0.0.1", port and port + 1))
                    port = each.getsockname()[1]
            except OSError:
                continue
            return port - count + 1


@contextmanager
def running(
    folder: Path, large: str, small: str, weights: str, more: str = "", gateways: int = 1
) -> Iterator[Cluster]:
    """A cluster of its own state folder and ports, with `more` in its configuration; checks that it leaves no
    process behind."""
    port = _free(2 * gateways)
    config = folder / "cluster.toml"
    config.write_text(
        f'name = "test"\n[gateway]\nport = {port}\nhttp_port = {port + gateways}\nreplicas = {gateways}\n'
        f'[drafter]\nmodel = "{small}"\nweights = "int4"\n'
        f'[verifier]\nmodel = "{large}"\nweights = "{weights}"\n{more}'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGROAD_STATE", str(folder / "state"))
        gateway = load_config(config).gateway
        target, http = daemon.targets_of(gateway), daemon.http_of(gateway)
        process = daemon.start(config, target, Console(file=io.StringIO()))
        family = Family(psutil.Process(process.pid))
        try:
            yield Cluster(target, http, family)
        finally:
            everyone = family.alive()
            daemon.stop()
            process.wait()
        assert not [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert process.returncode == 0
