"""Builds the project as setuptools does, and the C kernels before: a PEP 517 back end.

The compiler comes as a package, so that nothing but Python and pip is needed. Where there is none
for a platform, or the processor type is another, the project goes without these kernels: torch's
take their place.
"""

import platform
import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  the hooks that stay as they are

HERE = Path(__file__).parent
FLAGS = shlex.split("""
    -target x86_64-linux-gnu.2.28 -mcpu=x86_64_v4+avx512bf16 -std=c11 -O3 -ffp-contract=off -fno-sanitize=all
    -Wall -Wextra -Werror -fPIC -shared -Wl,--allow-shlib-undefined
""")


def compile_kernels() -> bool:
    """Writes native.so beside this file; False where this platform has none."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    compiler = [sys.executable, "-m", "ziglang", "cc"]
    sources = sorted(HERE.glob("*.c"))
    subprocess.run([*compiler, *FLAGS, "-o", HERE / "native.so", *sources, "-lm"], check=True)
    return True


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    """PEP 517."""
    if compile_kernels():
        config_settings = {**(config_settings or {}), "--build-option": ["--plat-name", "linux_x86_64"]}
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    """PEP 660."""
    compile_kernels()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
