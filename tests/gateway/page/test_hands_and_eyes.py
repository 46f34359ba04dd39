"""The page without a mouse, in the dark, on a narrow screen, and without colours."""

import os
from pathlib import Path
from typing import Any

import pytest

from ringroad.actors.messages import Counts, Finish, Mode, Speaker

KEPT, ACCEPTED, LARGE = Speaker.SMALL_KEPT, Speaker.SMALL_ACCEPTED, Speaker.LARGE
FOCUSED = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  return [element.id || element.className, ring];
}"""


async def test_all_can_be_done_by_keys(looking: Any) -> None:
    async with looking() as look:
        await look.column().wait_for()
        press = look.page.keyboard.press
        assert (await look.page.evaluate(FOCUSED))[0] == "prompt"
        await look.page.keyboard.type("hi")
        order = []
        for _ in range(9):
            await press("Tab")
            name, visible = await look.page.evaluate(FOCUSED)
            assert visible, name
            order.append(name)
        assert order == ["form", "temperature", "seed", "most", "order", "key", "run", "add", "mode-1"]
        await press("r")  # of routed
        assert await look.column().get_by_label("Mode").input_value() == "routed"
        for _ in range(3):
            await press("Tab")
        assert (await look.page.evaluate(FOCUSED))[0] == "value-1"
        await press("ArrowRight")
        assert await look.column().locator(".shown").inner_text() == "21 %"
        await press("Control+Enter")
        submit = await look.router.submitted()
        assert (submit.mode, submit.policy.share) == (Mode.ROUTED, pytest.approx(0.21))
        look.speak(submit, 0, ("he", KEPT))
        await look.tokens(2)
        await press("Control+Enter")  # one at a time
        await press("Escape")
        assert (await look.router.cancelled()).session == submit.session
        look.router.end(submit, 2, Finish.CANCELLED)
        await look.says("Stopped after 2 tokens.")
        assert look.router.quiet


async def test_a_button_that_cannot_be_pressed_does_not_swallow_the_keys(looking: Any) -> None:
    async with looking() as look:
        await look.column().wait_for()
        await look.page.get_by_label("Prompt").fill("hi")
        await look.page.get_by_role("button", name="Run").focus()
        await look.page.keyboard.press("Enter")
        submit = await look.router.submitted()
        assert (await look.page.evaluate(FOCUSED))[0] == "stop"
        await look.page.keyboard.press("Escape")
        await look.router.cancelled()
        look.router.end(submit, 0, Finish.CANCELLED)
        await look.says("Stopped after 0 tokens.")
        assert (await look.page.evaluate(FOCUSED))[0] == "run"


async def test_everything_has_a_name_and_changes_are_said(looking: Any) -> None:
    async with looking() as look:
        await look.page.get_by_role("button", name="Add a column").click()
        await look.choose("Mode", "routed")
        nameless = """() => [...document.querySelectorAll('input, select, textarea, button')]
          .filter(field => !(field.labels?.length || field.textContent.trim()))
          .map(field => field.outerHTML)"""
        assert await look.page.evaluate(nameless) == []
        ids = await look.page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
        assert len(ids) == len(set(ids))
        assert await look.page.get_by_role("status").count() == 3
        assert await look.page.get_by_role("region", name="Text of column 1").count() == 1
        assert await look.page.get_by_role("article", name="Column 2").count() == 1


async def test_speakers_differ_by_more_than_colour(looking: Any) -> None:
    async with looking() as look:
        await look.ask("hi")
        await look.answer(("a", KEPT), ("b", ACCEPTED), ("c", LARGE))
        await look.tokens(3)
        for place in (".text", ".legend"):
            lines = await look.page.locator(f"{place} .token").evaluate_all(
                "all => all.map(one => getComputedStyle(one))"
                "  .map(style => style.textDecorationLine + style.textDecorationStyle)"
            )
            assert lines == ["nonesolid", "underlinedotted", "underlinesolid"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 1180])
async def test_it_can_be_read_everywhere(looking: Any, tmp_path: Path, width: int, dark: bool) -> None:
    async with looking(width=width, dark=dark) as look:
        await look.page.get_by_role("button", name="Add a column").click()
        await look.choose("Mode", "routed")
        await look.ask("hi")
        await look.answer(
            ("small", KEPT), ("er", ACCEPTED), ("!", LARGE), counts=Counts(8, 2, kept=5, large=1)
        )
        await look.answer(("averylongwordxyz", LARGE))
        await look.says("16 tokens", 2)
        across = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
        assert await look.page.evaluate(across) == 0
        assert await look.page.evaluate(CONTRASTS) == []
        folder = Path(os.environ.get("RINGROAD_PICTURES", tmp_path))
        picture = folder / f"{width}-{'dark' if dark else 'light'}.png"
        await look.page.screenshot(path=picture, full_page=True)
        assert picture.stat().st_size > 10_000


# Texts whose colour is too near to what is behind them, by the W3C's guidelines (WCAG): below 4.5 to 1.
CONTRASTS = """() => {
  const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (layers) => {
    paint.clearRect(0, 0, 1, 1);
    for (const layer of layers) { paint.fillStyle = layer; paint.fillRect(0, 0, 1, 1); }
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255);
  };
  const light = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const wrong = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.matches(':disabled, :disabled *, svg *') || !element.checkVisibility()) continue;
    const behind = [];
    for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const [one, two] = [rgb([...behind, getComputedStyle(element).color]), rgb(behind)].map(luminance);
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) wrong.push(`${element.tagName} ${element.className} ${element.textContent}: ${ratio}`);
  }
  return wrong;
}"""
