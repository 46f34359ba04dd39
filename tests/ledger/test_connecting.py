"""Passwords and TLS: what is refused, and how a gateway goes on until it is mended."""

from pathlib import Path

import pytest

from ringroad.actors.ledger.ledger import LedgerAway, Part
from tests.ledger.gateways import gateways, run, written
from tests.ledger.servers import free_port, record, served, spoken, until
from tests.ledger.story import FAST, Story, failures, told
from tests.ledger.tls import Authority, behind_tls

pytestmark = pytest.mark.usefixtures("tries_again_soon")


@pytest.mark.parametrize("user", ["", "default@"])
def test_a_wrong_password(
    short: Path, user: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the start; what is generated meanwhile is not lost when the file is corrected."""

    async def body() -> None:
        file, port = short / "password", free_port()
        with served(short, "--requirepass", "right", port=port):
            async with gateways(f"redis://{user}127.0.0.1:{port}", password_file=file, **FAST) as [a]:
                await failures(monkeypatch, 3)  # no file
                file.write_text("wrong\n")
                a.begin(record("r"))
                a.commit("r", 0, *spoken(5))
                await failures(monkeypatch, 5)
                assert not a.there
                with pytest.raises(LedgerAway, match="assword"):
                    await a.find("r")
                assert len(told(caplog)) == 1
                assert "wrong" not in caplog.text.replace("wrong number", "").replace("WRONGPASS", "")
                file.write_text("right\n")
                await until(lambda: written(a))
                entry = await a.find("r")
                assert entry
                assert entry.part == Part(0, *spoken(5))

    run(body())


def test_a_password_from_the_environment(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        port = free_port()
        with served(short, "--requirepass", "right", port=port):
            url = f"redis://127.0.0.1:{port}/1"
            async with gateways(url, password_env="RINGROAD_TEST_PASSWORD", **FAST) as [a]:
                await failures(monkeypatch, 2)
                with pytest.raises(LedgerAway, match="RINGROAD_TEST_PASSWORD: not set"):
                    await a.find("r")
                monkeypatch.setenv("RINGROAD_TEST_PASSWORD", "right")
                await until(lambda: a.there)

    run(body())


def test_tls(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        (short / "other").mkdir()
        authority, stranger = Authority(short), Authority(short / "other")
        certificate, key = authority.issue("gateway")
        with served(short) as server:
            async with behind_tls(server.socket, authority, asks_client=True) as port:
                url = f"rediss://127.0.0.1:{port}"
                own = {"tls_cert": certificate, "tls_key": key}
                async with gateways(url, tls_ca=authority.ca, **own) as [a]:
                    story = Story(a)
                    await story.before()
                    story.meanwhile()
                    await story.afterwards()
                for trouble in ({"tls_ca": stranger.ca, **own}, {"tls_ca": authority.ca}, own):
                    async with gateways(url, **trouble, **FAST) as [b]:
                        await failures(monkeypatch, 2)
                        assert not b.there
                        with pytest.raises(LedgerAway):
                            await b.find("runs")

    run(body())
