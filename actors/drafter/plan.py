"""What a drafter with a model does besides asking it."""

from dataclasses import dataclass, field

from ringroad.actors.drafter.shapes import Shape
from ringroad.actors.drafter.strategy import Ensemble, Strategy


@dataclass(frozen=True)
class Plan:
    """How guesses of the model and of model-free strategies go together. By default the model alone."""

    free: Strategy = field(default_factory=lambda: Ensemble([]))
    model: bool = True  # whether the model guesses what will be judged, or the strategies alone
    shape: Shape | None = None  # of the model's trees; None: a chain
    passes: int = 6  # of the model for a tree
    # Where the strategies expect to get this many guesses accepted, the model is not asked.
    enough: float = float("inf")
    floor: float = 0.0  # guesses less likely than this are not worth a row
    vocabulary: int = 0  # the first so many ids are what the model's guesses are chosen from; 0: all
    second_choices: bool = False  # whether a chain has the runner-up beside each guess
    prompt_in_part: bool = False  # whether the engine's view is for prompts as well
    two_levels: bool = False  # whether the strategies' guesses save passes of the model's chain
