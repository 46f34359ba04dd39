"""A text that another router began, taken up where it stands: it goes on as if nothing had happened."""

import pytest
from msgspec.structs import replace

from ringroad.actors.messages import Finish, Mode, Policy, Sampling, Speaker, Submit
from tests.roles.pair import (
    ALWAYS,
    NEVER,
    SAMPLINGS,
    SOMETIMES,
    counts_of,
    drafter,
    generated,
    request,
    speakers_of,
    text_of,
    verifier,
)

POLICIES = [SOMETIMES, ALWAYS, NEVER, Policy("random", share=0.3), Policy("margin", share=0.5)]
WIDER = [Policy("step", 0.4), Policy("cascade", 0.3)]
WAYS = [(mode, None) for mode in (Mode.LARGE, Mode.SMALL, Mode.SPECULATIVE)]
WAYS += [(Mode.ROUTED, policy) for policy in POLICIES + WIDER]


TOKENS = 10


def asked(sampling: Sampling, mode: Mode, policy: Policy | None = None) -> Submit:
    """A request in which steps end now and then."""
    submit = request(sampling, mode, policy=policy, draft_tokens=3, max_tokens=TOKENS)
    return replace(submit, breaks=list(range(0, 1000, 5)))


def spoken(submit: Submit) -> tuple[list[int], list[Speaker]]:
    chunks = generated(submit, verifier("fp32"), drafter("fp32"))
    return text_of(chunks), speakers_of(chunks)


def kept(speakers: list[Speaker]) -> list[bool]:
    """What nobody asked the large model about. Who says the same as it depends on who was first."""
    return [speaker is Speaker.SMALL_KEPT for speaker in speakers]


@pytest.mark.parametrize(("mode", "policy"), WAYS)
@pytest.mark.parametrize("sampling", SAMPLINGS[:3])
def test_from_every_token_on(mode: Mode, policy: Policy | None, sampling: Sampling) -> None:
    submit = asked(sampling, mode, policy)
    text, speakers = spoken(submit)
    # A cascade commits nothing before a whole answer is judged: no shorter part of a kept one exists.
    at_once = policy is not None and policy.name == "cascade" and kept(speakers)[0]
    for count in [0, TOKENS] if at_once else range(TOKENS + 1):
        again = replace(submit, committed=text[:count], speakers=speakers[:count])
        chunks = generated(again, verifier("fp32"), drafter("fp32"))
        assert text_of(chunks) == text, count
        assert kept(speakers_of(chunks)) == kept(speakers), count
        assert chunks[-1].finish is Finish.LENGTH
        counts = counts_of(chunks)
        assert counts.kept + counts.accepted + counts.large == TOKENS


@pytest.mark.parametrize("mode", [Mode.LARGE, Mode.SPECULATIVE])
def test_one_that_had_ended_ends_at_once(mode: Mode) -> None:
    submit = asked(SAMPLINGS[1], mode)
    text, speakers = spoken(submit)
    for count in (5, TOKENS):
        submit = replace(submit, ends=[text[4]] if count == 5 else [])
        again = replace(submit, committed=text[:count], speakers=speakers[:count])
        chunks = generated(again)  # by nobody: there is nothing left to say
        assert text_of(chunks) == text[:count]
        assert chunks[-1].finish is (Finish.STOP if count == 5 else Finish.LENGTH)
