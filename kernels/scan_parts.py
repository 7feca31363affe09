"""Scans of few long rows on GPUs: parts of the rows are scanned side by side.

Three launches: the accumulators of each part (a partial reduction), what stands before each part
(a scan of those), and the parts, each from there on. The elements are read twice and written once.
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


def parts_of(work: ReductionWork, device: Device) -> tuple[int, int]:
    """(parts of the scanned range, steps of each), from sizes alone: reproducible."""
    steps, programs = work.steps(device), work.programs(device)
    wanted = min(-(-_PROGRAMS // programs), work.numel // (programs * _PART), steps)
    if device.type == "cpu" or wanted <= 1:
        return 1, steps
    each = -(-steps // wanted)
    return -(-steps // each), each


def identities(scan: ReductionKernel, accumulators: Sequence[Dtype]) -> list[str]:
    """Their texts, for lanes that are masked."""
    pairs = zip(scan.identity, accumulators, strict=True)
    return [literal(identity_of(identity, dtype), dtype, "call") for identity, dtype in pairs]


def signature(accumulators: Sequence[Dtype], wide: bool) -> dict[str, str]:
    """What the scan of parts takes besides: the accumulators up to the end of each part."""
    number = "i64" if wide else "i32"
    found = {f"carry{i}_ptr": f"*{dtype.triton}" for i, dtype in enumerate(accumulators)}
    return found | dict.fromkeys(("n_parts", "steps_per_part", "kept_count"), number)


def part_start(
    scan: ReductionKernel, form: str, kept_rank: int, accumulators: Sequence[Dtype], reverse: bool
) -> list[str]:
    """acc0, acc1, ... as they stand before the part; `part` and `kept` are known."""
    lines = [
        f"before = part {'+' if reverse else '-'} 1",
        "carried = (before >= 0) & (before < n_parts)",
    ]
    place = "kept * n_parts + before"
    if form == "column":
        last = f"kept_{kept_rank - 1}"
        lines.append(f"lanes = (kept // tl.cdiv({last}, COLUMNS)) * {last} + columns")
        lines.append("carried = carried & column_mask")
        place = "before * kept_count + lanes"
    for i, identity in enumerate(identities(scan, accumulators)):
        lines.append(f"acc{i} = tl.load(carry{i}_ptr + {place}, mask=carried, other={identity})")
    return lines


def carry_source(
    scan: ReductionKernel, form: str, accumulators: Sequence[Dtype], reverse: bool
) -> KernelSource:
    """One program: one kept element; its parts' accumulators become those up to each part's end."""
    combine = f"{scan.name}_combine"
    combine_text, helpers = combine_function(combine, scan.combine, accumulators)
    count = range(len(accumulators))
    neutral = identities(scan, accumulators)
    blocks, carried, scanned = (", ".join(f"{name}{i}" for i in count) for name in "mas")
    operand = blocks if len(accumulators) == 1 else f"({blocks})"
    place = "program * n_parts + parts" if form == "row" else "parts * kept_count + program"
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
    function = f"{scan.name}_carry_{kinds}_{form}{'_reverse' * reverse}"
    names = [*carry_signature(accumulators), "BLOCK: tl.constexpr"]
    body = "\n".join(f"    {line}" for line in lines)
    text = f"{combine_text}\n\n@triton.jit\ndef {function}({', '.join(names)}):\n{body}\n"
    return KernelSource(function, prelude(helpers, text) + text)


def carry_signature(accumulators: Sequence[Dtype]) -> dict[str, str]:
    found = {f"carry{i}_ptr": f"*{dtype.triton}" for i, dtype in enumerate(accumulators)}
    return found | {"n_parts": "i32", "kept_count": "i32"}
