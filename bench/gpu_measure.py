"""Measuring rows of `bench.gpu_rows` on ours and on a peer, in one process on one GPU.

Both sides have the same inputs, where rows draw them by `gpu_rows.random`, and what they compute is
compared: a wrong result at full size has no speed. The samples of the two sides take turns, so that
clocks and heat are the same for both.
"""

from __future__ import annotations

import math
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import gpu_apart
from bench.gpu_rows import ROWS, Row
from bench.turns import LOST_WORDS

_SAMPLES = 5
_SECONDS_A_SAMPLE = 0.02
#: of work before the first row: an idle GPU's clocks are low
_WARM_SECONDS = 0.5
#: how far results of two libraries may lie apart: norm of the difference over the norm
TOLERANCES = {
    "float64": 1e-9, "float32": 1e-3, "float16": 1e-2, "bfloat16": 3e-2, "float8_e4m3fn": 0.1,
}  # fmt: skip


def chosen_rows(pattern: str, dry: bool) -> list[Row]:
    """The copy, and the rows whose group or name the pattern finds."""
    found = [row for row in ROWS[1:] if re.search(pattern, f"{row.group}: {row.name}")]
    return [ROWS[0], *(row for row in found if row.dry or not dry)]


# ---- one row


def _on_gpu(torch: Any) -> bool:
    """A dry run's peer is on the CPU."""
    return bool(torch.cuda.is_available())


def _batch(torch: Any, calls: Sequence[Callable[[], Any]], count: int) -> float:
    """Milliseconds of one call among `count`, by events, the input sets in turn."""
    if not _on_gpu(torch):
        for call in calls:
            call()
        return 1.0
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for turn in range(count):
        calls[turn % len(calls)]()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / count


def _count(torch: Any, calls: Sequence[Callable[[], Any]], dry: bool) -> int:
    """How many calls make a sample; what only the first calls do is done."""
    for call in calls:
        call()
        call()
    if dry:  # a simulated GPU's events know no time
        return len(calls)
    torch.cuda.synchronize()
    once = max(_batch(torch, calls, len(calls)), 1e-3)
    return max(len(calls), min(int(_SECONDS_A_SAMPLE * 1e3 / once), 2000))


def warm(torch: Any, row: Row, seconds: float = _WARM_SECONDS) -> None:
    """Work until clocks are up; what fails here is told of where the row is measured."""
    with suppress(Exception):
        call, end = row.program(torch, 1.0), time.monotonic() + seconds
        while time.monotonic() < end:
            call()
            torch.cuda.synchronize()


def _failure(error: Exception) -> str:
    return f"{type(error).__name__}: {error!s:.300}"


def measure(row: Row, libraries: dict[str, Any], scale: float) -> dict[str, Any]:
    """Median times of both sides, whose samples take turns, and whether they agree."""
    found: dict[str, Any] = {"name": row.name, "group": row.group, "bar": row.bar}
    calls: dict[str, list[Callable[[], Any]]] = {}
    counts: dict[str, int] = {}
    times: dict[str, list[float]] = {}

    def guarded(side: str, run: Callable[[Any], None]) -> None:
        if f"{side}_error" in found:
            return
        try:
            run(libraries[side])
        except Exception as error:
            found[f"{side}_error"] = _failure(error)
            calls.pop(side, None)

    def begin(side: str, torch: Any) -> None:
        torch.set_float32_matmul_precision(row.precision)
        for library in libraries.values():  # the peer's inputs are drawn by ours
            library.manual_seed(0)
        calls[side] = [row.program(torch, scale) for _ in range(row.sets)]
        counts[side] = _count(torch, calls[side], dry=scale < 1)
        times[side] = []

    def sample(side: str, torch: Any) -> None:
        times[side].append(_batch(torch, calls[side], counts[side]))

    for side in libraries:
        guarded(side, lambda torch, side=side: begin(side, torch))  # type: ignore[misc]
        if LOST_WORDS in found.get("ours_error", ""):
            return found
    for _ in range(_SAMPLES if scale == 1 else 1):
        for side in libraries:
            guarded(side, lambda torch, side=side: sample(side, torch))  # type: ignore[misc]
    for side, taken in times.items():
        if f"{side}_error" not in found:
            middle = statistics.median(taken)
            found[f"{side}_ms"] = middle
            found[f"{side}_spread"] = (max(taken) - min(taken)) / middle
    if row.agrees and len(calls) == 2:
        try:
            found["apart"] = apart(calls["ours"][0](), calls["torch"][0](), libraries["torch"])
            if (words := disagreement(found["apart"])) is not None:
                found["ours_error"] = f"differs from the peer: {words}"
        except Exception as error:
            found["compare_error"] = _failure(error)
    calls.clear()
    for torch in libraries.values():
        torch.set_float32_matmul_precision("highest")
        with suppress(RuntimeError):  # the device may be lost
            torch.cuda.empty_cache()
    return found


def _tensors(result: Any) -> Iterator[Any]:
    if isinstance(result, (tuple, list)):
        for part in result:
            yield from _tensors(part)
    elif hasattr(result, "dtype"):
        yield result


def apart(ours: Any, theirs: Any, torch: Any) -> list[tuple[str, float]]:
    """Each floating-point part of two results: its dtype, and the norm of the difference over the
    peer's norm. Integers say which of equals was chosen, and are not compared.

    Raises:
        ValueError: the results are not of one kind.
    """
    here, there = list(_tensors(ours)), list(_tensors(theirs))
    if len(here) != len(there):
        raise ValueError(f"{len(here)} and {len(there)} tensors")
    found = []
    for mine, other in zip(here, there):
        if tuple(mine.shape) != tuple(other.shape):
            raise ValueError(f"shapes {tuple(mine.shape)} and {tuple(other.shape)}")
        if not other.is_floating_point():
            continue
        name = str(mine.dtype).rpartition(".")[2]
        mine = torch.from_dlpack(mine.detach().float().to(str(other.device)))
        other = other.detach().float()
        difference = torch.linalg.vector_norm(mine - other)
        whole = torch.linalg.vector_norm(other)
        found.append((name, float(difference / whole) if float(whole) else float(difference)))
    return found


def disagreement(found: Sequence[tuple[str, float]]) -> str | None:
    """What is too far apart, in words."""
    for name, distance in found:
        bound = TOLERANCES.get(name, 1e-3)
        if not distance <= bound:  # nan neither
            return f"by {distance:.2g} of its norm ({name}: {bound} at most)"
    return None


def judge(found: dict[str, Any], row: Row, bandwidth: float | None) -> None:
    """Fill in bytes and operations a second, and the ratio that the bar is for."""
    ours, theirs = found.get("ours_ms"), found.get("torch_ms")
    if ours is None:
        return
    if row.moved:
        found["bytes_per_second"] = row.moved / ours * 1e3
    if row.operations:
        found["operations_per_second"] = row.operations / ours * 1e3
    if theirs is not None:
        found["ratio_to_torch"] = theirs / ours
    if row.of_bandwidth and bandwidth:
        found["ratio"] = found["bytes_per_second"] / bandwidth
    elif not row.of_bandwidth and theirs is not None:
        found["ratio"] = theirs / ours
    if "ratio" in found:
        found["reached"] = found["ratio"] >= row.bar and "ours_error" not in found


# ---- all rows


def run_rows(
    libraries: dict[str, Any], seconds: float, pattern: str = "", dry: bool = False,
    path: Path | None = None, rows: Sequence[Row] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """The chosen rows until the time is over, or the device is lost.

    Args:
        path: rows of processes before this one, which are left out; each row is added to it.
        rows: instead of those that the pattern finds.
    """
    end = time.monotonic() + seconds
    results: list[dict[str, Any]] = []
    known = {row["name"] for row in gpu_apart.written(path)} if path is not None else set()
    rows = chosen_rows(pattern, dry) if rows is None else rows
    if all(row.name in known for row in rows):
        return results
    bandwidth = None
    if not dry:
        warm(libraries["ours"], rows[0])
    for row in rows:
        if row.name in known and row is not rows[0]:
            continue
        if time.monotonic() > end:
            late = {"name": row.name, "group": row.group, "bar": row.bar, "ours_error": LATE}
            results.append(late)
            if path is not None and row.name not in known:
                gpu_apart.write(path, late)
            continue
        found = measure(row, libraries, 1e-3 if dry else 1.0)
        if row is rows[0]:
            times = [found[f"{side}_ms"] for side in libraries if f"{side}_ms" in found]
            bandwidth = row.moved / min(times) * 1e3 if times else None
        judge(found, row, bandwidth)
        results.append(found)
        if row.name in known:
            continue
        if path is not None:
            gpu_apart.write(path, found)
        print(line(found, not dry), flush=True)
        if LOST_WORDS in found.get("ours_error", ""):
            break
    return results


#: of a row that was not measured
LATE = "no time left"


def line(found: dict[str, Any], figures: bool = True) -> str:
    """A row of the table: milliseconds of ours and of the peer, ratio, bar."""
    name = f"{found['name']:34.38}"
    error = f"{found['ours_error']:.90}" if "ours_error" in found else ""
    if error and "ours_ms" not in found:
        return f"{name} {error}"
    trouble = f" peer: {found['torch_error']:.60}" if "torch_error" in found else ""
    trouble += f" {found['compare_error']:.60}" if "compare_error" in found else ""
    if not figures:
        return f"{name} {error or 'runs'}{trouble}"
    ours, theirs = _short(found["ours_ms"]), _short(found.get("torch_ms"))
    ratio = "" if "ratio" not in found else f"{found['ratio']:.2f}"
    verdict = {True: "reached", False: "below", None: ""}[found.get("reached")]
    return f"{name} {ours:>8} {theirs:>8} {ratio:>6} {found['bar']:.2f} {error or verdict}{trouble}"


def _short(milliseconds: float | None) -> str:
    """Four digits that count."""
    if not milliseconds:
        return ""
    return f"{milliseconds:.{max(3 - math.floor(math.log10(milliseconds)), 0)}f}"
