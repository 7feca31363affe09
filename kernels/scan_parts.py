"""Scans of few long rows on GPUs: parts of the rows are scanned side by side.

Rows ("row" form) are taken in chunks that stay in the second-level cache, two launches for each:
the accumulators of each part of the chunk (a partial reduction), and the parts, each from what
stands before it, which it adds up itself; the last one leaves what the next chunk starts from.
Elements are read twice, but once from memory.

Columns take three launches for everything: the accumulators of each part, what stands before each
part (a scan of those), the parts.

Predicted for 256 MiB of float32 on sm_90 (nothing was measured): eight chunks, each read (7.5 us at
4.3 TB/s) and written (7.5 us), 2 x 3 us between launches: 170 us, while one pass without any
second read (CUB's, decoupled look-back) takes 135. Three launches over everything would move
3/2 as much as that pass: 210 us. A look-back would have programs wait for each other; that needs no
order of chunks, but cannot be tried without a GPU, and its sums would depend on who comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tritorch.dtypes import dtype as Dtype
from tritorch.kernel_source import KernelSource
from tritorch.kernels.helpers import prelude
from tritorch.kernels.reduction_source import combine_function, identity_of
from tritorch.kernels.triton_printer import literal

if TYPE_CHECKING:
    from tritorch.devices import device as Device
    from tritorch.kernels.reduction import ReductionKernel, ReductionWork

#: programs that a launch should have before rows are left whole, and elements that a part must have
_PROGRAMS, _PART = 4096, 8192
#: bytes of a chunk, which are read twice, and the most parts of its rows, which a program adds up
_CHUNK, _PARTS = 32 << 20, 1024


def parts_of(work: ReductionWork, device: Device) -> tuple[int, int]:
    """(parts of the scanned range, steps of each), from sizes alone: reproducible."""
    steps, programs = work.steps(device), work.programs(device)
    wanted = min(-(-_PROGRAMS // programs), work.numel // (programs * _PART), steps)
    if device.type == "cpu" or wanted <= 1:
        return 1, steps
    each = -(-steps // wanted)
    return -(-steps // each), each


def chunk_of(work: ReductionWork, device: Device, *, whole: bool) -> tuple[int, int]:
    """(steps of a chunk of the scanned range, of a part of it); with `whole` there is one chunk."""
    steps, rows = work.steps(device), work.kept_count
    nbytes = work.numel * max(operand.dtype.itemsize for operand in work.operands[1:])
    chunk = steps if whole else -(-steps // -(-nbytes // _CHUNK))
    elements = work.numel // steps * chunk
    wanted = min(-(-_PROGRAMS // rows), elements // (rows * _PART), _PARTS)
    return chunk, -(-chunk // max(wanted, 1))


def identities(scan: ReductionKernel, accumulators: Sequence[Dtype]) -> list[str]:
    """Their texts, for lanes that are masked."""
    pairs = zip(scan.identity, accumulators, strict=True)
    return [literal(identity_of(identity, dtype), dtype, "call") for identity, dtype in pairs]


def signature(accumulators: Sequence[Dtype], form: str, wide: bool) -> dict[str, str]:
    """What the scan of parts takes besides: accumulators of each part (up to its end in columns),
    in rows those before and after the chunk.
    """
    number = "i64" if wide else "i32"
    names = ("carry", "before", "after") if form == "row" else ("carry",)
    found = {
        f"{name}{i}_ptr": f"*{dtype.triton}"
        for name in names
        for i, dtype in enumerate(accumulators)
    }
    last = "n_chunks_before" if form == "row" else "kept_count"
    return found | dict.fromkeys(("n_parts", "steps_per_part", last), number)


def part_start(
    scan: ReductionKernel, form: str, kept_rank: int, accumulators: Sequence[Dtype], reverse: bool
) -> list[str]:
    """acc0, acc1, ... as they stand before the part; `part` and `kept` are known."""
    neutral = identities(scan, accumulators)
    if form == "row":
        count = range(len(accumulators))
        every, whole, carried = (
            ", ".join(f"{name}{i}" for i in count) for name in ("t", "w", "acc")
        )
        operand = every if len(accumulators) == 1 else f"({every})"
        combine = f"{scan.name}_combine"
        return [
            *(
                f"acc{i} = tl.load(before{i}_ptr + kept, mask=n_chunks_before > 0, "
                f"other={neutral[i]})"
                for i in count
            ),
            "others = tl.arange(0, PARTS)",
            f"earlier = (others {'>' if reverse else '<'} part) & (others < n_parts)",
            *(
                f"t{i} = tl.load(carry{i}_ptr + kept * n_parts + others, mask=earlier, "
                f"other={neutral[i]})"
                for i in count
            ),
            f"{whole} = tl.reduce({operand}, 0, {combine})",
            f"{carried} = {combine}({carried}, {whole})",
        ]
    last = f"kept_{kept_rank - 1}"
    lines = [
        f"before = part {'+' if reverse else '-'} 1",
        f"lanes = (kept // tl.cdiv({last}, COLUMNS)) * {last} + columns",
        "carried = (before >= 0) & (before < n_parts) & column_mask",
    ]
    for i, identity in enumerate(neutral):
        place = f"carry{i}_ptr + before * kept_count + lanes"
        lines.append(f"acc{i} = tl.load({place}, mask=carried, other={identity})")
    return lines


def part_end(count: int, reverse: bool) -> list[str]:
    """Of rows: the last part leaves its accumulators for the next chunk."""
    return [
        f"if part == {'0' if reverse else 'n_parts - 1'}:",
        *(f"    tl.store(after{i}_ptr + kept, acc{i})" for i in range(count)),
    ]


def carry_source(
    scan: ReductionKernel, accumulators: Sequence[Dtype], reverse: bool
) -> KernelSource:
    """One program: one column; its parts' accumulators become those up to each part's end."""
    combine = f"{scan.name}_combine"
    combine_text, helpers = combine_function(combine, scan.combine, accumulators)
    count = range(len(accumulators))
    neutral = identities(scan, accumulators)
    blocks, carried, scanned = (", ".join(f"{name}{i}" for i in count) for name in "mas")
    operand = blocks if len(accumulators) == 1 else f"({blocks})"
    place = "parts * kept_count + program"
    lines = [
        "program = tl.program_id(0).to(tl.int64)",
        *(f"a{i} = {neutral[i]}" for i in count),
        "for turn in range(0, n_parts, BLOCK):",
        f"    start = {'(n_parts - 1) // BLOCK * BLOCK - turn' if reverse else 'turn'}",
        "    parts = start + tl.arange(0, BLOCK)",
        "    mask = parts < n_parts",
        *(
            f"    m{i} = tl.load(carry{i}_ptr + {place}, mask=mask, other={neutral[i]})"
            for i in count
        ),
        f"    {scanned} = tl.associative_scan({operand}, 0, {combine}"
        + (", reverse=True)" if reverse else ")"),
        f"    {scanned} = {combine}({carried}, {scanned})",
        *(f"    tl.store(carry{i}_ptr + {place}, s{i}, mask=mask)" for i in count),
        f"    {blocks} = tl.reduce({operand}, 0, {combine})",
        f"    {carried} = {combine}({carried}, {blocks})",
    ]
    kinds = "_".join(dtype.triton for dtype in accumulators)
    function = f"{scan.name}_carry_{kinds}_column{'_reverse' * reverse}"
    names = [*carry_signature(accumulators), "BLOCK: tl.constexpr"]
    body = "\n".join(f"    {line}" for line in lines)
    text = f"{combine_text}\n\n@triton.jit\ndef {function}({', '.join(names)}):\n{body}\n"
    return KernelSource(function, prelude(helpers, text) + text)


def carry_signature(accumulators: Sequence[Dtype]) -> dict[str, str]:
    found = {f"carry{i}_ptr": f"*{dtype.triton}" for i, dtype in enumerate(accumulators)}
    return found | {"n_parts": "i32", "kept_count": "i32"}
