"""The page in a headless Chromium, served by a gateway whose router the test plays."""

import asyncio
import inspect
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

from ringroad.actors.messages import Chunk, Counts, Finish, Speaker, Submit

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("RINGROAD_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
SECONDS = 60.0  # nothing here takes that long
Part = tuple[str, Speaker]


class Looking:
    """A person at the page, and the router behind it."""

    def __init__(self, served: Any, page: Page) -> None:
        self.served = served
        self.router = served.router
        self.page = page
        self.wrongs: list[str] = []  # what a browser's console would show
        self.asked: list[Request] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.wrongs.append(str(error)))
        page.on("request", lambda request: self.asked.append(request))

    def _hear(self, message: ConsoleMessage) -> None:
        # A refused request is shown by the page itself; the browser writes it down as well.
        if (
            message.type in ("error", "warning")
            and "the server responded with a status of" not in message.text
        ):
            self.wrongs.append(message.text)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.served.gateway.http_port}/"

    def column(self, number: int = 1) -> Any:
        """By its place, from 1 on."""
        return self.page.get_by_role("article").nth(number - 1)

    async def ask(self, prompt: str = "hi", **fields: str) -> None:
        """Fills the form, and runs."""
        await self.page.get_by_label("Prompt").fill(prompt)
        for label, value in fields.items():
            await self.page.get_by_label(label, exact=True).fill(value)
        await self.page.get_by_role("button", name="Run").click()

    async def choose(self, label: str, value: str, number: int = 1) -> None:
        """Of a column's selects."""
        await self.column(number).get_by_label(label, exact=True).select_option(value)

    async def says(self, text: str, number: int = 1) -> None:
        """Waits until a column's status has these words."""
        await self.column(number).get_by_role("status").filter(has_text=text).wait_for()

    async def tokens(self, count: int, number: int = 1) -> list[tuple[str, str]]:
        """Waits for so many tokens; their texts and speakers."""
        spans = self.column(number).locator(".text .token")
        await spans.nth(count - 1).wait_for(state="attached")
        script = "spans => spans.map(span => [span.textContent, span.dataset.speaker])"
        return [(text, speaker) for text, speaker in await spans.evaluate_all(script)]

    def speak(
        self, submit: Submit, offset: int, *parts: Part, finish: Finish | None = None, **more: Any
    ) -> int:
        """One chunk, a token a byte; how many tokens there are with it."""
        tokens = [byte for text, _ in parts for byte in text.encode()]
        speakers = [speaker for text, speaker in parts for _ in text.encode()]
        self.router.say(Chunk(submit.session, offset, tokens, speakers, finish=finish, **more))
        return offset + len(tokens)

    async def answer(self, *parts: Part, counts: Counts | None = None) -> Submit:
        """A whole text, as the next request's."""
        submit: Submit = await self.router.submitted()
        self.speak(submit, 0, *parts, finish=Finish.LENGTH, counts=counts)
        return submit


Open = Callable[..., AbstractAsyncContextManager[Looking]]


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.Runner]:
    """One for all tests here, since a browser belongs to one and takes long to start."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests of the page run on that loop."""
    if "looking" not in pyfuncitem.funcargs:
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    runner: asyncio.Runner = pyfuncitem.funcargs["loop"]
    runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def browser(loop: asyncio.Runner) -> Iterator[Browser]:
    """A headless Chromium that is on this machine."""
    if CHROMIUM is None:
        pytest.skip(f"none of {', '.join(NAMES)} is on this machine: `make browser` installs one")
    playwright = loop.run(async_playwright().start())
    try:
        browser = loop.run(playwright.chromium.launch(executable_path=CHROMIUM))
        yield browser
        loop.run(browser.close())
    finally:
        loop.run(playwright.stop())


@pytest.fixture
def looking(serving: Any, browser: Browser) -> Open:
    """`async with looking(**settings) as look`: at the end no complaint, and nothing asked of others."""

    @asynccontextmanager
    async def opened(
        *, width: int = 1180, height: int = 900, dark: bool = False, **settings: Any
    ) -> AsyncIterator[Looking]:
        colours = "dark" if dark else "light"
        async with serving(http_port=0, **settings) as served:
            page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
            page.set_default_timeout(1000 * SECONDS)
            look = Looking(served, page)
            try:
                await page.goto(look.url)
                yield look
                assert look.wrongs == []
                assert {urlsplit(request.url).netloc for request in look.asked} == {urlsplit(look.url).netloc}
            finally:
                await page.close()

    return opened
