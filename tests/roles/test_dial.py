"""The dial of routed mode with two models that compute: its ends, what lies between, and wider scopes."""

import pytest
from msgspec import structs

from ringroad.actors.drafter import chain
from ringroad.actors.engine.model import Model
from ringroad.actors.messages import Features, Mode, Policy, Sampling, Speaker, Submit
from ringroad.actors.router.policies import HORIZON, RULES, Scope, kept, offered
from tests import reference
from tests.engine.tiny import prompt
from tests.roles import pair
from tests.roles.pair import counts_of, drafter, generated, plain, request, speakers_of, text_of, verifier
from tests.roles.test_accidents import Mortal

TOKENWISE = [name for name, rule in RULES.items() if rule.scope is Scope.TOKEN]
SAMPLINGS = [Sampling(1, 0.0), Sampling(2, 0.8)]
BREAKS = list(range(0, 320, 7))  # a step is some seven tokens long
WIDER = [Policy("step", at) for at in (0.62, 0.7, 0.74)] + [Policy("cascade", 0.6), Policy("cascade", 0.9)]


def routed(policy: Policy, sampling: Sampling, seed: int = 1, **options: int) -> Submit:
    submit = request(sampling, Mode.ROUTED, text=prompt(9, seed), policy=policy, **options)  # type: ignore[arg-type]
    return structs.replace(submit, breaks=BREAKS if RULES[policy.name].scope is Scope.STEP else [])


def spoken(submit: Submit) -> tuple[list[int], list[Speaker]]:
    chunks = generated(submit, verifier("bf16"), drafter("bf16"))
    counts_of(chunks)
    return text_of(chunks), speakers_of(chunks)


@pytest.mark.parametrize("name", [*offered(), "learned"])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_the_ends_of_every_dial(name: str, sampling: Sampling) -> None:
    for end in ({"threshold": 0.0}, {"share": 1.0}):
        submit = routed(Policy(name, **end), sampling)
        assert spoken(submit) == (plain("bf16", submit), [Speaker.LARGE] * pair.TOKENS)
    for end in ({"threshold": 1.01}, {"share": 0.0}):
        submit = routed(Policy(name, **end), sampling)
        assert spoken(submit) == (plain("bf16", submit, shaken=0.02), [Speaker.SMALL_KEPT] * pair.TOKENS)


@pytest.mark.parametrize("name", ["margin", "entropy", "max-prob", "random"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_lower_threshold_consults_no_later(name: str, seed: int) -> None:
    """Up to the first consult all texts are the small model's, so there the dial can be compared."""
    firsts, small = [], plain("bf16", routed(Policy(name, 2.0), SAMPLINGS[1], seed), shaken=0.02)
    for at in (0.99, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2):
        text, who = spoken(routed(Policy(name, at), SAMPLINGS[1], seed))
        firsts.append(who.index(Speaker.LARGE) if Speaker.LARGE in who else len(who))
        assert text[: firsts[-1]] == small[: firsts[-1]]
    assert firsts == sorted(firsts, reverse=True)
    assert firsts[0] > firsts[-1]


@pytest.mark.parametrize("name", TOKENWISE)
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_is_held_whatever_the_draft(name: str, share: float) -> None:
    found = [
        spoken(routed(Policy(name, share=share), SAMPLINGS[1], max_tokens=120, draft_tokens=draft_tokens))
        for draft_tokens in (1, 5)
    ]
    assert found[0] == found[1]
    for end in range(1, 121):
        assert abs(found[0][1][:end].count(Speaker.LARGE) - share * end) <= HORIZON + 1


@pytest.mark.parametrize("name", ["margin", "random"])
@pytest.mark.parametrize("how", [{"threshold": 0.7}, {"share": 0.4}])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_how_far_a_drafter_goes_behind_a_doubt_changes_no_text(
    name: str, how: dict[str, float], sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only how many tokens a consult settles."""
    submit = routed(Policy(name, **how), sampling, max_tokens=60, draft_tokens=7)
    texts, consults = [], []
    for stays in (2.0, 0.55, 0.0):  # nowhere, at times, always
        monkeypatch.setattr(chain, "STAYS", stays)
        chunks = generated(submit, verifier("bf16"), drafter("bf16"))
        texts.append((text_of(chunks), speakers_of(chunks)))
        consults.append(counts_of(chunks).consults)
    assert texts[0] == texts[1] == texts[2]
    assert consults[0] == texts[0][1].count(Speaker.LARGE)
    assert consults[2] < consults[0], "one consult has settled several doubts"


def by_stretches(submit: Submit) -> tuple[list[int], list[bool]]:
    """A wider rule as one would write it down, each token with fresh engines; which are the large model's."""
    assert submit.policy is not None
    text, consulted, end = list(submit.prompt), [], len(submit.prompt) + submit.max_tokens

    def stretch(model: Model) -> list[reference.Said]:
        found: list[reference.Said] = []
        while len(text) + len(found) < end and not (found and found[-1].token in submit.breaks):
            found.append(reference.plain_token(model, text + [f.token for f in found], submit.sampling))
        return found

    while len(text) < end:
        draft = stretch(pair.small("bf16"))
        seen = Features(*([getattr(each, name) for each in draft] for name in ("margin", "entropy", "top")))
        consult = not kept(submit.policy, seen, len(draft))
        said = stretch(pair.large("bf16")) if consult else draft
        text += [each.token for each in said]
        consulted += [consult] * len(said)
    return text[len(submit.prompt) :], consulted


@pytest.mark.parametrize("policy", WIDER, ids=str)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_a_wider_rule_is_what_it_says(policy: Policy, sampling: Sampling) -> None:
    for draft_tokens in (1, 4):
        submit = routed(policy, sampling, draft_tokens=draft_tokens)
        text, who = spoken(submit)
        assert (text, [speaker is not Speaker.SMALL_KEPT for speaker in who]) == by_stretches(submit)


def test_a_drafter_goes_no_further_than_what_is_decided() -> None:
    """To a step's end, or the text's; what it says there is one draft, whatever the draft length."""
    whole = plain("bf16", routed(Policy("cascade", 0.9), SAMPLINGS[1]), shaken=0.02)
    submit = structs.replace(routed(Policy("cascade", 0.9), SAMPLINGS[1], draft_tokens=2), ends=[whole[9]])
    chunks = generated(submit, verifier("bf16"), drafter("bf16"))
    assert len(chunks) == 2, "all tokens at once, then the last word"
    assert counts_of(chunks).drafted == counts_of(chunks).kept == len(text_of(chunks)) <= 10
    steps = generated(routed(Policy("step", 0.99), SAMPLINGS[1]), verifier("bf16"), drafter("bf16"))
    assert counts_of(steps).drafted == counts_of(steps).kept == pair.TOKENS
    assert all(chunk.tokens[-1] in BREAKS for chunk in steps[:-2])
    assert len(steps) > 3


@pytest.mark.parametrize("steps", [1, 2, 5, 9, 14])
@pytest.mark.parametrize("lost", ["verifier", "drafter"])
@pytest.mark.parametrize("policy", WIDER[1::2], ids=str)
def test_a_lost_role_is_replaced_and_the_text_stays(policy: Policy, lost: str, steps: int) -> None:
    submit = routed(policy, SAMPLINGS[1], draft_tokens=3)
    whole = spoken(submit)
    roles = [verifier("bf16"), drafter("bf16"), verifier("bf16"), drafter("bf16")]
    room = Mortal(*roles, lost=f"{lost}-{int(lost == 'drafter')}".encode(), steps=steps)
    chunks = room.generate(submit)["s"]
    assert text_of(chunks) == whole[0]
    kept_ones = [
        [speaker is Speaker.SMALL_KEPT for speaker in who] for who in (speakers_of(chunks), whole[1])
    ]
    assert kept_ones[0] == kept_ones[1]
