"""Which guesses may stay: the hard rules, as pure functions.

`accept` is the default, coupled sampling; `RULES` are those with probabilities, for `walk`.
"""

from ringroad.actors.verifier.acceptance.coupled import accept
from ringroad.actors.verifier.acceptance.rules import RULES, Rule
from ringroad.actors.verifier.acceptance.walk import walk

__all__ = ["RULES", "Rule", "accept", "walk"]
