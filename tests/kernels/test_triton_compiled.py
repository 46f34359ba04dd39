"""The Triton kernels compile for a GPU that is not here, spill nothing, and docs/triton.md says so."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "triton.md"
REGISTERS = 255  # that a thread may have on sm_90
SHARED = 227 * 1024


def rows() -> list[list[str]]:
    table = PAGE.read_text().split("<!-- table")[1]
    return [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed here")
def test_the_page_is_what_the_compiler_says() -> None:
    command = [sys.executable, "bench/triton_aot.py", "--check"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRITON")}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]


def test_nothing_spills_and_everything_fits() -> None:
    assert {row[0] for row in rows()} == {
        f"`{name}_kernel`" for name in ("norm", "place", "attend", "merge", "peaks", "best", "noisy", "walk")
    }
    for kernel, says, registers, spilt, shared, _ in rows():
        assert int(registers) <= REGISTERS, (kernel, says)
        assert int(spilt) == 0, (kernel, says)
        assert int(shared) <= SHARED, (kernel, says)


def test_halves_are_multiplied_by_tensor_cores() -> None:
    products = {row[1]: row[5] for row in rows() if row[0] == "`attend_kernel`"}
    assert all(("mma" in how) == says.startswith(("bf16", "fp16")) for says, how in products.items()), (
        products
    )
