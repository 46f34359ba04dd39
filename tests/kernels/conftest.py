"""What tests of the kernels share."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from ringroad.kernels import native


@pytest.fixture(scope="module", params=["native", "torch"])
def both_readings(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways of reading a vocabulary: a machine without the C kernels must give the same."""
    if request.param == "native":
        if native.library() is None:
            pytest.skip("no AVX-512 bf16, or the kernels were not built")
        yield
        return
    with patch("ringroad.kernels.native.reads", return_value=False):
        yield
