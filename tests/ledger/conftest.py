"""One server for the tests that leave it as it was; after each test nothing of it may be left."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

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


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No process, no socket, no file."""
    if "server" in request.fixturenames:
        request.getfixturevalue("server")
    me = psutil.Process()
    before = me.children(recursive=True), me.num_fds()
    yield
    assert (me.children(recursive=True), me.num_fds()) == before
