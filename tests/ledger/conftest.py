"""One server for the tests that leave it as it was; after each test nothing of it may be left."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ringroad.actors.ledger import presence
from tests.ledger.servers import Server, served


@pytest.fixture(scope="session", params=["valkey-server", "redis-server"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The one that comes with Ringroad, and Redis itself where it is installed."""
    binary = "" if request.param == "valkey-server" else shutil.which(request.param)
    if binary is None:
        pytest.skip("no redis-server is installed here")
    with (
        tempfile.TemporaryDirectory(prefix="ringroad-") as folder,
        served(Path(folder), binary=binary) as one,
    ):
        yield one


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="ringroad-") as folder:
        yield Path(folder)


@pytest.fixture
def tries_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that is away is asked again within hundredths of a second."""
    monkeypatch.setattr(presence, "_LAST_SECONDS", 0.05)
    monkeypatch.setattr(presence, "_FIRST_SECONDS", 0.01)


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No process, no socket, no file; what earlier tests have left to be closed may go meanwhile."""
    if "server" in request.fixturenames:
        request.getfixturevalue("server")
    me = psutil.Process()
    children, descriptors = me.children(recursive=True), me.num_fds()
    yield
    assert me.children(recursive=True) == children
    assert me.num_fds() <= descriptors
