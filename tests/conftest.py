"""What all tests share: one thread, bounded examples, and models by name."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent.parent))  # for `tests.reference`: importlib mode adds nothing

from ringroad.cluster.models import locate

# Two OpenMP threads on a busy machine wait for each other most of the time.
torch.set_num_threads(1)

settings.register_profile(
    "ringroad",
    deadline=None,
    max_examples=50,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("ringroad")


@pytest.fixture(scope="session")
def model_file() -> Callable[[str], Path]:
    """The file of a catalogue model. A missing one fails its tests; `ringroad models pull` gets it."""
    return locate
