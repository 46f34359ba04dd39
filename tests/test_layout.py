"""The repository's shape: who may import whom, how long a file may be, and what the wheel ships."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
ROOMS = {name.removeprefix("ringroad."): ROOT / path for name, path in SETUP["package-dir"].items()}
BELOW = {"v1": set(), "kernels": set(), "actors": {"kernels", "v1"}, "cluster": {"actors", "kernels", "v1"}}
OURS = ("actors", "cluster", "kernels")
TORCHLESS = ("actors/channel/", "actors/gateway/", "actors/ledger/", "actors/router/", "actors/messages.py")
PROTOBUF = ("ringroad.v1", "google.protobuf")
LINES = 300


def sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted(ROOMS[room].rglob("*.py"))]


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """Full names, also of imports inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(path)}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(path: Path, *packages: str) -> list[str]:
    return [name for name in imported(path) if any(f"{name}.".startswith(f"{p}.") for p in packages)]


@pytest.mark.parametrize("path", sources(*OURS), ids=place)
def test_imports_point_downward(path: Path) -> None:
    room = place(path).split("/")[0]
    used = {name.split(".")[1] for name in imports(path, "ringroad")}
    assert used <= BELOW[room] | {room}


def test_ray_is_the_clusters_alone() -> None:
    assert {place(p): imports(p, "ray") for p in sources("kernels", "actors") if imports(p, "ray")} == {}


def test_the_gateway_and_the_router_need_no_torch() -> None:
    places = [p for p in sources("actors") if place(p).startswith(TORCHLESS)]
    assert len(places) > 10
    assert {place(p): imports(p, "torch") for p in places if imports(p, "torch")} == {}


def test_protobuf_stops_at_the_gateway() -> None:
    allowed = (
        "actors/gateway/",
        "cluster/client",
        "cluster/reading.py",
        "cluster/wire.py",
        "cluster/answer.py",
    )  # the client's
    strays = {place(p): imports(p, *PROTOBUF) for p in sources(*OURS) if not place(p).startswith(allowed)}
    assert {where: names for where, names in strays.items() if names} == {}


def test_no_file_is_long() -> None:
    counts = {place(p): len(p.read_text().splitlines()) for p in sources(*OURS)}
    assert {where: count for where, count in counts.items() if count > LINES} == {}


def test_nothing_prints() -> None:
    for path in sources(*OURS):
        calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not [f for f in calls if isinstance(f, ast.Name) and f.id == "print"], place(path)


def test_no_room_is_a_regular_package() -> None:
    """`ringroad` is put together from folders; an __init__.py in one would be imported under two names."""
    assert [place(room) for room in ROOMS.values() if (room / "__init__.py").exists()] == []


def test_the_wheel_ships_every_folder_with_code() -> None:
    found = {
        ".".join(("ringroad", room, *path.parent.relative_to(folder).parts))
        for room, folder in ROOMS.items()
        for path in folder.rglob("*.py")
    }
    assert found == set(SETUP["packages"])
