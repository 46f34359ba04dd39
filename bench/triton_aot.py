"""Compiles every Triton kernel for a GPU that need not be here, and writes what came out to docs/triton.md.

    .venv/bin/python bench/triton_aot.py            writes the table
    .venv/bin/python bench/triton_aot.py --check    fails where the page says something else

Registers, spills and shared memory are the assembler's own words; none of it has been run or timed.
"""

import argparse
import io
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

from ringroad.kernels.triton.attention import PART, attend_kernel
from ringroad.kernels.triton.merge import PARTS, merge_kernel
from ringroad.kernels.triton.noisy import noisy_kernel
from ringroad.kernels.triton.norm import norm_kernel
from ringroad.kernels.triton.options import OPTIONS
from ringroad.kernels.triton.place import place_kernel
from ringroad.kernels.triton.verdicts import SLICE, SPAN, best_kernel, peaks_kernel, walk_kernel

PAGE = Path(__file__).parent.parent / "docs" / "triton.md"
TARGET = GPUTarget("cuda", 90, 32)
BEGIN, END = "<!-- table: bench/triton_aot.py -->", "<!-- end of table -->"
HEADER = "| kernel | of what | registers | spilt bytes | shared memory, bytes | instructions for products |"
# Registers a thread may have, threads and shared memory a multiprocessor has: NVIDIA, Hopper tuning guide.
REGISTERS, SHARED = 255, 227 * 1024


@dataclass(frozen=True)
class Variant:
    """A kernel for one kind of arguments: types by name, as Triton writes them; the rest are constants."""

    kernel: triton.JITFunction
    says: str
    types: dict[str, str]
    constants: dict[str, int]


@dataclass(frozen=True)
class Built:
    """What the assembler said."""

    registers: int
    spilt: int
    shared: int
    products: str

    def row(self, variant: Variant) -> str:
        cells = (self.registers, self.spilt, self.shared, self.products)
        return f"| `{variant.kernel.__name__}` | {variant.says} | " + " | ".join(map(str, cells)) + " |"


def typed(text: str) -> dict[str, str]:
    """'a *fp32, b i32' as a signature."""
    return dict(pair.split() for pair in text.split(", "))


def variants() -> Iterator[Variant]:
    """What the models of the catalogue and common larger ones take."""
    yield from layers()
    yield from attentions()
    yield from draws()


def layers() -> Iterator[Variant]:
    for kind, width in (("bf16", 896), ("bf16", 1536), ("bf16", 4096), ("fp32", 1536)):
        types = typed(f"stream *{kind}, added *{kind}, weight *fp32, out *{kind}, width i32, eps fp32")
        sizes = {"ADDS": 1, "WIDTH": triton.next_power_of_2(width)}
        yield Variant(norm_kernel, f"{kind}, {width} wide", types, sizes)
    for kind, dim, normed in (("bf16", 64, 0), ("bf16", 128, 0), ("bf16", 128, 1), ("fp32", 128, 1)):
        types = typed(
            f"heads *{kind}, positions *i64, slots *i64, cos *fp32, sin *fp32, query_norm *fp32, "
            f"key_norm *fp32, query *{kind}, keys *{kind}, values *{kind}, eps fp32, block_stride i32, "
            "head_stride i32"
        )
        sizes = {"QUERIES": 12, "PLACES": 64, "DIM": dim, "NORMED": normed}
        says = f"{kind}, dim {dim}" + ", heads normed" * normed
        yield Variant(place_kernel, says, types, sizes)


def attentions() -> Iterator[Variant]:
    """At a tile of 16 rows and at one of 64."""
    for says, group, dim, kind, tile, words in (
        ("bf16, 6 heads a key head, dim 128", 6, 128, "bf16", 16, 1),
        ("bf16, 7 heads a key head, dim 64", 7, 64, "bf16", 16, 1),
        ("bf16, 4 heads a key head, dim 128", 4, 128, "bf16", 16, 1),
        ("fp16, 4 heads a key head, dim 128", 4, 128, "fp16", 16, 1),
        ("fp32, 6 heads a key head, dim 128", 6, 128, "fp32", 16, 1),
        ("bf16, 4 heads a key head, dim 128, 64 rows", 4, 128, "bf16", 64, 1),
        ("bf16, 7 heads a key head, dim 64, 256 new places of a rank", 7, 64, "bf16", 16, 4),
        ("bf16, 8 heads a key head, dim 128, 64 rows, 1024 new places", 8, 128, "bf16", 64, 16),
    ):
        types = typed(
            f"query *{kind}, keys *{kind}, values *{kind}, first *i32, cached *i32, new *i32, table *i32, "
            "seen *i64, out *fp32, lse *fp32, scale fp32, rows i32, tiles i32, table_stride i32, "
            "block_stride i32, head_stride i32"
        )
        sizes = {"GROUP": group, "DIM": dim, "BLOCK": 64, "ROWS": tile, "PART": PART, "WORDS": words}
        yield Variant(attend_kernel, says, types, sizes)
    for dim in (64, 128):
        types = typed("outs *fp32, lses *fp32, out *fp32, lse *fp32, parts i32")
        yield Variant(merge_kernel, f"dim {dim}", types, {"DIM": dim, "PARTS": PARTS})


def draws() -> Iterator[Variant]:
    for kind in ("bf16", "fp32"):
        types = typed(f"logits *{kind}, peaks *fp32, vocabulary i32, row_stride i32")
        yield Variant(peaks_kernel, f"{kind} logits", types, {"SPAN": SPAN})
    outputs = ((best_kernel, "scores *fp32, tokens *i32"), (noisy_kernel, "out *fp32"))
    for (kernel, out), kind in product(outputs, ("bf16", "fp32")):
        types = typed(
            f"logits *{kind}, peaks *fp32, seeds *u64, streams *u64, positions *i64, temperatures *fp32, "
            f"floors *fp32, {out}, vocabulary i32, row_stride i32"
        )
        sizes = {"SPANS": 64, "SPAN": SPAN, "SLICE": SLICE}
        yield Variant(kernel, f"{kind} logits, up to 262,144 tokens", types, sizes)
    for rows in (1, 16, 64):
        types = typed(
            "scores *fp32, tokens *i32, first *i32, guesses *i32, parents *i32, drawn *i32, kept *i32, "
            "paths *i32, answers *i32, spans i32, path_stride i32"
        )
        yield Variant(walk_kernel, f"{rows} rows a session", types, {"ROWS": rows, "SPANS": 64})


def build(variant: Variant) -> Built:
    """Compiles as a launch would: pointers and the model's own strides are multiples of 16."""
    kernel = variant.kernel
    signature = {name: variant.types.get(name, "constexpr") for name in kernel.arg_names}
    changing = {param.name for param in kernel.params if param.do_not_specialize}
    even = {
        (i,): [["tt.divisibility", 16]]
        for i, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or (kind == "i32" and name not in changing)
    }
    log = io.StringIO()
    with redirect_stdout(log):
        built = triton.compile(ASTSource(kernel, signature, variant.constants, even), TARGET, OPTIONS)
    return heard(log.getvalue(), built)


def heard(log: str, built: CompiledKernel) -> Built:
    """Of the assembler's log and the machine-independent code."""
    products = re.findall(r"(wgmma|mma)\.(?:mma_async\.)?sync\.aligned\.(m\d+n\d+k\d+)", built.asm["ptx"])
    return Built(
        registers=int(re.findall(r"Used (\d+) registers", log)[0]),
        spilt=sum(int(size) for size in re.findall(r"(\d+) bytes spill", log)),
        shared=built.metadata.shared,
        products=", ".join(sorted({" ".join(found) for found in products})) or "-",
    )


def table() -> str:
    """The page's table, and a word to the terminal on anything that spills or does not fit."""
    lines = [HEADER, "| --- | --- | --- | --- | --- | --- |"]
    for variant in variants():
        built = build(variant)
        if built.spilt or built.registers > REGISTERS or built.shared > SHARED:
            print(f"{variant.kernel.__name__}, {variant.says}: {built}", file=sys.stderr)
        lines.append(built.row(variant))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="fail where the page says something else")
    triton.knobs.compilation.always_compile = True  # what comes from a cache has no log
    triton.knobs.nvidia.dump_ptxas_log = True
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if not parser.parse_args().check:
        PAGE.write_text(page)
    elif page != PAGE.read_text():
        sys.exit("docs/triton.md is not what bench/triton_aot.py writes")


if __name__ == "__main__":
    main()
