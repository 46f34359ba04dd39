"""The rules with probabilities by name, and which drafts each may judge."""

from dataclasses import dataclass

from ringroad.actors.verifier.acceptance.k_seq import k_seq
from ringroad.actors.verifier.acceptance.odds import Judge
from ringroad.actors.verifier.acceptance.point_mass import point_mass
from ringroad.actors.verifier.acceptance.recursive import recursive
from ringroad.actors.verifier.acceptance.rejection import rejection


@dataclass(frozen=True)
class Rule:
    """How siblings are judged. Of drafts made any other way the text would be biased."""

    judge: Judge
    drafts: tuple[str, ...]  # names in actors/drafts.py; the first unless asked otherwise


RULES = {
    "rejection": Rule(rejection, ("independent",)),
    "point_mass": Rule(point_mass, ("likeliest",)),
    "recursive": Rule(recursive, ("without_replacement", "beam")),
    "k_seq": Rule(k_seq, ("independent",)),
}
