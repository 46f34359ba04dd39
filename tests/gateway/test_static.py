"""The page's files as a browser gets them."""

import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from ringroad.actors.gateway.config import GatewayConfig
from ringroad.actors.gateway.static import PAGE, page_routes
from ringroad.actors.gateway.web import Web

TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}


@asynccontextmanager
async def web(folder: Path = PAGE) -> AsyncIterator[ClientSession]:
    server = Web(page_routes(folder), "127.0.0.1", 0, most_bytes=1000, limits=GatewayConfig().limits)
    await server.start()
    try:
        async with ClientSession(f"http://127.0.0.1:{server.port}") as session:
            yield session
    finally:
        await server.stop()


def paths() -> dict[str, Path]:
    return {"/" if path.name == "index.html" else f"/page/{path.name}": path for path in PAGE.iterdir()}


async def test_every_file_comes_whole_with_its_type_and_is_guarded() -> None:
    async with web() as session:
        for url, path in paths().items():
            async with session.get(url) as response:
                assert response.status == 200
                assert await response.read() == path.read_bytes()
                assert response.headers["Content-Type"] == f"{TYPES[path.suffix]}; charset=utf-8"
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Referrer-Policy"] == "no-referrer"
                policy = dict(
                    part.strip().split(" ", 1)
                    for part in response.headers["Content-Security-Policy"].split(";")
                )
                assert policy["default-src"] == "'self'"
                assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
                assert "unsafe" not in str(policy)


async def test_what_a_browser_has_is_not_sent_again() -> None:
    async with web() as session:
        tags = set()
        for url in paths():
            async with session.get(url) as response:
                tag = response.headers["ETag"]
                assert response.headers["Cache-Control"] == "no-cache"
            tags.add(tag)
            for known in (tag, f'"other", W/{tag}', "*"):
                async with session.get(url, headers={"If-None-Match": known}) as response:
                    assert (response.status, await response.read()) == (304, b"")
                    assert response.headers["ETag"] == tag
            async with session.get(url, headers={"If-None-Match": '"other"'}) as response:
                assert response.status == 200
        assert len(tags) == len(paths())


async def test_nothing_else_is_served() -> None:
    async with web() as session:
        for url in ("/page/", "/page/nothing.js", "/page/../static.py", "/page/%2e%2e/static.py", "/page"):
            async with session.get(url) as response:
                assert response.status == 404
        async with session.post("/") as response:
            assert response.status == 405
        async with session.head("/") as response:
            assert (response.status, await response.read()) == (200, b"")


def test_a_kind_of_file_that_no_browser_is_told_of_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("")
    (tmp_path / "model.gguf").write_text("")
    with pytest.raises(KeyError, match="gguf"):
        page_routes(tmp_path)


def test_the_page_names_nothing_from_elsewhere_and_makes_no_markup_of_strings() -> None:
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text.replace("// ", "")), path.name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\son[a-z]+=", text
        ), path.name
        assert not re.search(r"\sstyle=|<style|<script(?![^>]*src=)", text), path.name
        assert len(text.splitlines()) <= 300


def test_the_wheel_ships_the_page() -> None:
    setup = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["tool"]["setuptools"]
    packed = setup["package-data"]["ringroad.actors.gateway"]
    assert {path for pattern in packed for path in PAGE.parent.glob(pattern)} >= set(PAGE.iterdir())
