"""What the host does for programs on a GPU, without one: `python -m bench.gpu_host`.

Programs run on `endless_gpu`: their time is the host's alone, with everything in it but the work of
the driver in a launch. For the GPT-2 step there are also the launches with a roofline's
predictions beside those of PyTorch's, the memory that the allocator would need, and whether a graph
takes the whole step. A JSON file in bench/results/ has it all; `--tiny` uses small sizes and writes
none.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.endless_gpu import EndlessDriver, endless_gpu
from bench.gpu_launches import (
    BYTES_PER_SECOND,
    OPERATIONS_PER_SECOND,
    Listing,
    Work,
    together,
    torch_step,
    totals,
)
from bench.gpu_model import TINY, Sizes, gpt2, training_step
from tritorch.runtime.cuda.target import CUDATarget

Call = Callable[[], Any]
ROOT = Path(__file__).resolve().parents[1]


def _small(torch: Any, grad: bool) -> tuple[Any, Any]:
    x, y = torch.randn(16, device="cuda"), torch.randn(16, device="cuda")
    return x.requires_grad_(grad), y.requires_grad_(grad)


def _add(torch: Any, sizes: Sizes, grad: bool = False) -> Call:
    x, y = _small(torch, grad)
    return lambda: x + y


def _add_backward(torch: Any, sizes: Sizes) -> Call:
    x, y = _small(torch, True)
    return lambda: (x + y).sum().backward()


def _layer(torch: Any, sizes: Sizes, kind: str) -> Call:
    arguments = (sizes.width, sizes.width) if kind == "Linear" else (sizes.width,)
    layer = getattr(torch.nn, kind)(*arguments).to("cuda")
    x = torch.randn(64, sizes.width, device="cuda")
    return lambda: layer(x)


def _block(torch: Any, sizes: Sizes) -> Call:
    block = gpt2(torch, sizes).blocks[0].to("cuda")
    x = torch.randn(sizes.batch, sizes.length, sizes.width, device="cuda", requires_grad=True)
    upstream = torch.ones_like(x)

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            y = block(x)
        y.backward(upstream)

    return step


def _adamw(torch: Any, sizes: Sizes) -> Call:
    parameters = list(gpt2(torch, sizes).to("cuda").parameters())
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    return torch.optim.AdamW(parameters, lr=1e-3).step  # type: ignore[no-any-return]


def _step(torch: Any, sizes: Sizes) -> Call:
    return training_step(torch, "cuda", sizes)


#: name -> (program, calls of a sample)
PROGRAMS: dict[str, tuple[Callable[[Any, Sizes], Call], int]] = {
    "add of 16": (_add, 5000),
    "add of 16 with gradient": (lambda torch, sizes: _add(torch, sizes, True), 5000),
    "add of 16, sum, backward": (_add_backward, 500),
    "linear": (lambda torch, sizes: _layer(torch, sizes, "Linear"), 2000),
    "layer norm": (lambda torch, sizes: _layer(torch, sizes, "LayerNorm"), 2000),
    "transformer block, both": (_block, 20),
    "AdamW of GPT-2's parameters": (_adamw, 50),
    "GPT-2 step": (_step, 3),
}


def host_times(
    torch: Any, target: CUDATarget, sizes: Sizes, share: float = 1.0
) -> list[dict[str, Any]]:
    """Microseconds of the host and launches for each program; the best of five samples.

    Args:
        share: of the calls.
    """
    found = []
    for name, (program, calls) in PROGRAMS.items():
        call, calls = program(torch, sizes), max(int(calls * share), 1)
        for _ in range(3):
            call()
        times, before = [], target._launcher.launches
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times.append((time.perf_counter() - start) / calls)
        launches = (target._launcher.launches - before) / calls / 5
        found.append({"name": name, "host_us": min(times) * 1e6, "launches": launches})
        del call
    return found


def memory_of_step(torch: Any, sizes: Sizes) -> dict[str, float]:
    """GiB at the peak of a step, and what the parameters and the optimizer hold all the time."""
    step = training_step(torch, "cuda", sizes)
    step()
    step()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    figures = {
        "held": held, "peak": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
    }  # fmt: skip
    return {name: round(value / 2**30, 3) for name, value in figures.items()}


def captured_step(
    torch: Any, target: CUDATarget, driver: EndlessDriver, sizes: Sizes
) -> dict[str, int]:
    """Launches while a graph takes a whole step, and while it is replayed."""
    step = training_step(torch, "cuda", sizes, capturable=True)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph, before = torch.cuda.CUDAGraph(), target._launcher.launches
    with torch.cuda.graph(graph):
        step()
    captured = target._launcher.launches - before
    replays = driver.calls["launch_graph"]
    graph.replay()
    graph.replay()
    return {
        "captured": captured,
        "launched_by_replays": target._launcher.launches - before - captured,
        "graphs_launched": driver.calls["launch_graph"] - replays,
    }


def predictions(torch: Any, target: CUDATarget, sizes: Sizes) -> dict[str, Any]:
    """The launches of the step, ours and PyTorch's, with a roofline's times."""
    listing = Listing(target)
    for plans in torch.ops.dispatch.Plans.every:  # what was planned before is not listened to
        plans.clear()
    step = training_step(torch, "cuda", sizes)
    step()
    step()
    ours, theirs = listing.of(step), together(torch_step(sizes))
    (moved,) = (work.moved for work in theirs if work.kind == "optimizer")
    for work in ours:
        if work.kind == "optimizer":  # its arguments are tables of addresses
            work.moved = moved
    return {
        "bytes_per_second": BYTES_PER_SECOND, "operations_per_second": OPERATIONS_PER_SECOND,
        "ours": {"totals": totals(ours), "launches": [_row(work) for work in ours]},
        "torch": {"totals": totals(theirs), "launches": [_row(work) for work in theirs]},
    }  # fmt: skip


def _row(work: Work) -> dict[str, Any]:
    row = {**vars(work), "moved": round(work.moved), "predicted_us": round(work.microseconds, 1)}
    if work.waves is None:
        del row["waves"]
    else:
        row["waves"] = round(work.waves, 2)
    return row


def table(report: dict[str, Any]) -> str:
    """What a person wants to see of it."""
    lines = [f"{'program':32} {'host us':>10} {'launches':>9}"]
    lines += [f"{r['name']:32} {r['host_us']:10.1f} {r['launches']:9.0f}" for r in report["host"]]
    predicted = report["predicted"]
    sides = [predicted[side]["totals"] for side in ("ours", "torch")]
    lines.append(f"\n{'predicted, by a roofline':24} {'ours: n':>8} {'GB':>7} {'ms':>7}"
                 f" {'torch: n':>9} {'GB':>7} {'ms':>7}")  # fmt: skip
    for kind in dict.fromkeys([*sides[0], *sides[1]]):
        cells = [
            side.get(kind, {"launches": 0, "gigabytes": 0, "predicted_ms": 0}) for side in sides
        ]
        shown = [
            f"{c['launches']:8.0f} {c['gigabytes']:7.2f} {c['predicted_ms']:7.2f}" for c in cells
        ]
        lines.append(f"{kind:24} {'  '.join(shown)}")
    lines.append(f"\nmemory of the step, GiB: {report['memory']}")
    lines.append(f"the step as a graph: {report['graph']}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="small sizes, and no file")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    given = parser.parse_args(arguments)
    sizes = TINY if given.tiny else Sizes()
    with endless_gpu(compiled=not given.tiny) as (target, driver):
        import tritorch as torch

        report = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(), "processor": platform.processor(),
            "host": host_times(torch, target, sizes, 0.01 if given.tiny else 1.0),
            "memory": memory_of_step(torch, sizes),
            "graph": captured_step(torch, target, driver, sizes),
            "predicted": predictions(torch, target, sizes),
        }  # fmt: skip
    print(table(report))
    if not given.tiny:
        path = given.results / f"{report['date'][:10]}-gpu-host.json"
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
