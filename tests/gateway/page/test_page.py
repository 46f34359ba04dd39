"""What somebody at the page sees."""

from pathlib import Path
from typing import Any

import pytest

from ringroad.actors.gateway.keys import Scope, new
from ringroad.actors.messages import Counts, Finish, Mode, Speaker

KEPT, ACCEPTED, LARGE = Speaker.SMALL_KEPT, Speaker.SMALL_ACCEPTED, Speaker.LARGE
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;\n\u202e"


async def test_tokens_arrive_as_the_router_said_who_spoke_them(looking: Any) -> None:
    async with looking() as look:
        await look.ask("hi", Seed="7", Temperature="0.5")
        submit = await look.router.submitted()
        assert (submit.mode, submit.sampling.seed, submit.sampling.temperature) == (Mode.SPECULATIVE, 7, 0.5)
        assert bytes(submit.prompt).decode() == "[user]hi[assistant]"
        have = look.speak(submit, 0, ("a", KEPT), ("é", ACCEPTED), ("b", LARGE))
        early = [("a", "small_kept"), ("", "small_accepted"), ("é", "small_accepted"), ("b", "large")]
        assert await look.tokens(4) == early
        await look.says("Tokens arrive")
        counts = Counts(drafted=4, accepted=2, consults=2, kept=1, large=2)
        look.speak(submit, have, ("c", LARGE), finish=Finish.STOP, counts=counts)
        assert await look.tokens(5) == [*early, ("c", "large")]
        await look.says("5 tokens, seed 7: the model ended there.")
        figures = look.column().locator("dd")
        assert (await figures.all_inner_texts())[2:] == ["40 %", "75 %"]
        assert (await figures.first.inner_text()).endswith(" s")
        plots = look.column().get_by_role("img")
        labels = [await plots.nth(n).get_attribute("aria-label") for n in range(2)]
        assert labels[0].startswith("5 tokens in ")
        assert labels[1] == "mean 1.5, most 3"
        assert await look.column().locator("rect").count() == 2  # one stride, of one kept and two accepted


async def test_a_text_can_be_continued_and_its_length_and_seed_be_left_open(looking: Any) -> None:
    async with looking() as look:
        await look.page.get_by_label("Read as").select_option("text")
        seeds = set()
        for _ in range(2):
            await look.ask("hi")
            submit = await look.answer(("ok", LARGE))
            assert (bytes(submit.prompt), submit.max_tokens) == (b"hi", 16)
            await look.says(f"2 tokens, seed {submit.sampling.seed}")
            seeds.add(submit.sampling.seed)
        assert len(seeds) == 2


async def test_the_dial_goes_with_the_request(looking: Any) -> None:
    async with looking() as look:
        column = look.column()
        await column.wait_for()
        assert not await column.get_by_label("Policy").is_visible()
        await look.choose("Mode", "routed")
        assert await column.get_by_label("Policy").input_value() == "margin"
        dial, shown = column.get_by_label("Quality"), column.locator(".shown")
        await dial.fill("0.35")
        assert await shown.inner_text() == "35 %"

        async def routed() -> Any:
            await look.ask()
            submit = await look.answer(("ok", KEPT))
            await look.says("2 tokens")
            assert submit.mode is Mode.ROUTED
            return submit.policy

        policy = await routed()
        assert (policy.name, policy.share) == ("margin", pytest.approx(0.35))
        await look.choose("Policy", "cascade")  # has no share: the dial becomes a threshold
        await dial.fill("1.05")
        assert await shown.inner_text() == "1.05"
        policy = await routed()
        assert (policy.name, policy.threshold, policy.share) == ("cascade", pytest.approx(1.05), None)
        await look.choose("Policy", "entropy")
        await look.choose("Dial", "")
        assert await shown.inner_text() == "0.75"
        assert await dial.is_disabled()
        policy = await routed()
        assert (policy.name, policy.threshold, policy.share) == ("entropy", 0.75, None)


@pytest.mark.parametrize("order", ["turns", "together"])
async def test_columns_share_prompt_and_seed_and_the_texts_are_compared(looking: Any, order: str) -> None:
    async with looking() as look:
        await look.page.get_by_label("Run columns").select_option(order)
        for _ in range(2):
            await look.page.get_by_role("button", name="Add a column").click()
        modes = [await look.column(n).get_by_label("Mode").input_value() for n in (1, 2, 3)]
        assert modes == ["speculative", "large", "small"]
        await look.ask("hi")
        said = {
            Mode.SPECULATIVE: [("hel", ACCEPTED), ("lo", LARGE)],
            Mode.LARGE: [("hello", LARGE)],
            Mode.SMALL: [("hellt", KEPT)],
        }
        asked = []
        for n in range(3):
            asked.append(submit := await look.router.submitted())
            assert order == "together" or submit.mode == modes[n]
            look.speak(submit, 0, *said[submit.mode], finish=Finish.LENGTH)
        assert {submit.mode for submit in asked} == set(said)
        assert len({(*submit.prompt, submit.sampling.seed) for submit in asked}) == 1
        await look.says("5 tokens", 3)
        same, none, other = [look.column(n).locator(".same") for n in (1, 2, 3)]
        await same.filter(has_text="The same text as large’s: all 5 tokens.").wait_for()
        await other.filter(has_text="Differs from large’s text at token 5.").wait_for()
        assert not await none.is_visible()
        assert await look.column(3).locator(".differs").all_inner_texts() == ["t"]
        assert await look.column(1).locator(".differs").count() == 0
        assert "wrong" not in await other.get_attribute("class")


@pytest.mark.parametrize("spoken", ["hellO", "hell"])
async def test_a_broken_promise_is_shown_as_one(looking: Any, spoken: str) -> None:
    async with looking() as look:
        await look.page.get_by_role("button", name="Add a column").click()
        await look.ask("hi")
        await look.answer((spoken, ACCEPTED))
        await look.answer(("hello", LARGE))
        line = look.column(1).locator(".same")
        await line.filter(has_text="Differs from large’s text at token 5, and must not.").wait_for()
        assert "wrong" in await line.get_attribute("class")


async def test_stop_ends_it_at_the_gateway(looking: Any) -> None:
    async with looking() as look:
        await look.page.get_by_role("button", name="Add a column").click()
        await look.ask("hi")
        submit = await look.router.submitted()
        look.speak(submit, 0, ("he", LARGE))
        await look.tokens(2)
        await look.page.get_by_role("button", name="Stop").click()
        assert (await look.router.cancelled()).session == submit.session
        look.router.end(submit, 2, Finish.CANCELLED)
        await look.says("Stopped after 2 tokens.")
        await look.says("Stopped before it began.", 2)
        await look.served.until_load(0, 0)
        assert look.router.quiet
        assert not await look.column().locator(".same").is_visible()  # half a text is compared with nothing
        assert await look.page.get_by_role("button", name="Run").is_enabled()


async def test_what_a_model_says_is_text(looking: Any) -> None:
    async with looking() as look:
        dialogs = []
        look.page.on("dialog", lambda dialog: dialogs.append(dialog))
        await look.ask("hi", **{"Most tokens": "40"})
        submit = await look.router.submitted()
        shown = ""
        for at in range(0, len(data := MARKUP.encode()), 30):
            tokens = list(data[at : at + 30])
            look.router.tokens(submit, at, tokens)
        look.router.end(submit, len(data), Finish.STOP)
        await look.says("tokens, seed")
        shown = await look.column().locator(".text").evaluate("element => element.textContent")
        assert shown == MARKUP
        assert await look.column().locator(".text > :not(span)").count() == 0
        assert await look.page.locator("img, .text script, .text span *").count() == 0
        assert dialogs == []


async def test_the_browser_holds_the_page_to_its_policy(looking: Any) -> None:
    async with looking() as look:
        tried = "async (act) => { try { await act(); return 'done'; } catch (error) { return error.name; } }"
        for act, fails in (
            ("() => { document.body.innerHTML = '<b>'; }", "TypeError"),
            ("() => fetch('http://127.0.0.1:1/')", "TypeError"),
        ):
            assert await look.page.evaluate(f"({tried})({act})") == fails, act
        said = " ".join(look.wrongs)
        assert "TrustedHTML" in said
        assert "Content Security Policy" in said
        look.wrongs.clear()


async def test_errors_are_words(looking: Any) -> None:
    async with looking() as look:
        await look.ask("hi", **{"Most tokens": "1000"})
        await look.says("The gateway refused: ")
        await look.says("max_tokens")
        await look.page.get_by_label("Most tokens").fill("8")
        await look.ask("hi")
        submit = await look.router.submitted()
        look.speak(submit, 0, ("he", LARGE))
        await look.tokens(2)
        look.speak(submit, 2, finish=Finish.ERROR, error="no memory")
        await look.says("The text broke off: no memory")
        assert "wrong" in await look.column().get_by_role("status").get_attribute("class")
        look.router.lose()
        await look.served.router_lost()
        await look.ask("hi")
        await look.says("The gateway cannot serve now: ")


async def test_a_gateway_that_went_is_said_to_be_gone(looking: Any) -> None:
    async with looking() as look:
        await look.ask("hi")
        submit = await look.router.submitted()
        look.speak(submit, 0, ("he", LARGE))
        await look.tokens(2)
        await look.served.gateway.stop(0)
        await look.says("broke")
        await look.ask("hi")
        await look.says("The gateway cannot be reached.")
        look.wrongs = [words for words in look.wrongs if "ERR_CONNECTION" not in words]  # the browser's own


async def test_a_key_is_asked_for_and_kept_nowhere(looking: Any, tmp_path: Path) -> None:
    token, key = new("acme", frozenset({Scope.GENERATE}))
    lines = f"id = '{key.id}'\nhash = '{key.hash}'\ntenant = 'acme'\nscopes = ['generate']\n"
    (tmp_path / "keys.toml").write_text("[[keys]]\n" + lines)
    async with looking(keys_file=tmp_path / "keys.toml", roster=()) as look:
        greeting = look.page.locator("#offer")
        await greeting.filter(has_text="The gateway wants an API key").wait_for()
        field = look.page.get_by_label("API key")
        assert await field.evaluate("element => element === document.activeElement")
        assert await look.page.get_by_role("article").count() == 0
        await field.fill(token)
        await field.press("Tab")
        await greeting.filter(has_text="toy: large with small").wait_for()
        assert await field.get_attribute("type") == "password"
        assert await look.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [
            0,
            0,
            "",
        ]
        assert token not in look.page.url
        await field.fill("rr_00000000_no")
        await look.ask("hi")
        await look.says("The gateway wants an API key")


async def test_only_what_is_served_can_be_chosen(looking: Any) -> None:
    async with looking(small="") as look:
        options = look.column().get_by_label("Mode").locator("option")
        await options.first.wait_for(state="attached")
        assert await options.evaluate_all("all => all.map(one => one.value)") == ["large", "speculative"]
        await look.page.locator("#offer").filter(has_text="toy: large").wait_for()


async def test_columns_come_and_go(looking: Any) -> None:
    async with looking() as look:
        more = look.page.get_by_role("button", name="Add a column")
        for _ in range(3):
            await more.click()
        assert await more.is_disabled()
        assert await look.page.get_by_role("article").count() == 4
        await look.page.get_by_role("button", name="Remove column 2").click()
        assert await look.page.get_by_role("article").count() == 3
        for n in (1, 3):
            await look.page.get_by_role("button", name=f"Remove column {n}").click()
        assert await look.page.get_by_role("button", name="Remove").is_disabled()
