"""Every launch of a program on a GPU, and how long a roofline says that it would take.

A launch takes as long as its bytes at the speed of a copy, or its operations at that of the tensor
cores, whichever is longer, and never less than a small kernel does. All times are predictions: the
speeds are upper figures of an H200, and nothing is measured. `torch_step` is what PyTorch's eager
mode would launch for the same GPT-2 step, from its known decomposition.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.gpu_model import Sizes
from tritorch.runtime.cuda.target import CUDATarget
from tritorch.runtime.target import Kernel, Launch

BYTES_PER_SECOND = 4.3e12
OPERATIONS_PER_SECOND = 7e14
SMALLEST_US = 2.0
MULTIPROCESSORS = 132

#: beginnings of kernels' names -> their class
_CLASSES = (
    ("matmul", "products"), ("attention", "attention"), ("norm_", "layer norm"),
    ("add_groups", "layer norm"), ("copy_rows", "joining"), ("copy_", "casts"),
    ("cross_entropy", "cross entropy"), ("reduce_losses", "cross entropy"), ("gelu", "gelu"),
    ("multi_", "optimizer"), ("embedding", "embedding"), ("sum_", "bias gradients"),
    ("add_", "residual sums"),
)  # fmt: skip
#: ends of the names of attention's kernels -> matrix products, each of T x T x D for every head
_ATTENTION = {"forward": 2, "queries": 3, "keys": 4}


@dataclass
class Work:
    """Launches of one kind: what one moves and computes.

    Attributes:
        kernel: its name; of torch's, what it does.
        kind: a class of kernels.
        waves: programs over those that run side by side, where they are large.
    """

    kernel: str
    kind: str
    moved: float
    operations: float = 0.0
    count: int = 1
    waves: float | None = None

    @property
    def microseconds(self) -> float:
        """Predicted time of one."""
        longest = max(self.moved / BYTES_PER_SECOND, self.operations / OPERATIONS_PER_SECOND)
        return max(longest * 1e6, SMALLEST_US)


def kind_of(kernel: str) -> str:
    """The class of a kernel of ours."""
    return next((kind for start, kind in _CLASSES if kernel.startswith(start)), "others")


@dataclass
class Listing:
    """What a target is asked to launch while it listens.

    Args:
        target: where plans are made after this.
    """

    target: CUDATarget
    launches: list[Work] = field(default_factory=list)
    listening: bool = False

    def __post_init__(self) -> None:
        bind = self.target.bind

        def listed(
            kernel: Kernel, grid: Sequence[int], values: Sequence[Any], **options: Any
        ) -> Launch:
            launch = bind(kernel, grid, values, **options)
            known = dict(zip(kernel.signature, values)) | kernel.constants

            def launched(*given: Any) -> None:
                if self.listening:
                    self.launches.append(self._work(kernel, math.prod(grid), known, given))
                launch(*given)

            return launched

        self.target.bind = listed  # type: ignore[method-assign]

    def of(self, program: Callable[[], Any]) -> list[Work]:
        """The launches of one call; those of one kind together, in the order of the first."""
        self.launches.clear()
        self.listening = True
        try:
            program()
        finally:
            self.listening = False
        return together(self.launches)

    def _work(self, kernel: Kernel, programs: int, known: dict[str, Any], given: Any) -> Work:
        blocks = self._blocks(given)
        moved = _moved(kernel.name, blocks)
        work = Work(kernel.name, kind_of(kernel.name), moved)
        if kernel.name == "matmul_tile":
            m, n, k = (known.get(name) or 1 for name in "mnk")
            work.operations = 2.0 * m * n * k * (known.get("n_batches") or 1)
            splits = known.get("SPLIT_K") or 1
            tiles = math.ceil(m / known["BLOCK_M"]) * math.ceil(n / known["BLOCK_N"]) * splits
            work.waves = tiles / MULTIPROCESSORS
            way = "copied" if known.get("COPIED") else "loaded"
            tile = "x".join(str(known[name]) for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K"))
            work.kernel = f"matmul {m}x{n}x{k} {tile} {way}" + f" /{splits}" * (splits > 1)
        elif kernel.name.startswith("attention"):
            rows = min(size for _, size in blocks) / 4  # of the logarithms, in float32
            narrow = [
                kind for kind in kernel.signature.values() if kind.startswith(("*bf", "*fp16"))
            ]
            work.moved = rows * (2 * known["depth"] * len(narrow) + 4 * (len(blocks) - len(narrow)))
            keys = known["n_keys"] * (0.5 if known["CAUSAL"] else 1.0)
            products = _ATTENTION[kernel.name.rpartition("_")[2]]
            work.operations = 2.0 * rows * known["depth"] * keys * products
        return work

    def _blocks(self, given: Iterable[Any]) -> list[tuple[int, float]]:
        """For each address its block's bytes, shared among the addresses within one block."""
        held = self.target._blocks
        starts = sorted(held)
        found: list[tuple[int, int]] = []
        for value in given:
            place = bisect_right(starts, value) - 1 if isinstance(value, int) else -1
            block = held[starts[place]] if place >= 0 else None
            if block is not None and value < block.address + block.size:
                found.append((value, starts[place]))
        parts = {start: len({a for a, s in found if s == start}) for _, start in found}
        return [(address, held[start].requested / parts[start]) for address, start in found]


def _moved(kernel: str, blocks: list[tuple[int, float]]) -> float:
    """Bytes that a launch reads and writes; every operand once."""
    sizes = [size for _, size in blocks]
    if kernel == "copy_rows":  # a part of what is joined
        return 2 * min(sizes)
    if kernel == "embedding_rows":  # as many rows as are written
        return 2 * sizes[0] + sizes[-1]
    if kernel.startswith("embedding_backward"):  # rows are added to
        return 3 * sizes[1]
    return sum(sizes)


def together(launches: Iterable[Work]) -> list[Work]:
    """Equal ones as one with their count."""
    found: dict[tuple[Any, ...], Work] = {}
    for work in launches:
        key = (work.kernel, round(work.moved), work.operations)
        if key in found:
            found[key].count += work.count
        else:
            found[key] = Work(**vars(work))
    return list(found.values())


def totals(works: Iterable[Work]) -> dict[str, dict[str, float]]:
    """Launches, gigabytes, teraflop and predicted milliseconds by class, and of all."""
    found: dict[str, dict[str, float]] = {}
    for work in works:
        for kind in (work.kind, "all"):
            entry = found.setdefault(
                kind, {"launches": 0, "gigabytes": 0.0, "teraflop": 0.0, "predicted_ms": 0.0}
            )
            entry["launches"] += work.count
            entry["gigabytes"] += work.count * work.moved / 1e9
            entry["teraflop"] += work.count * work.operations / 1e12
            entry["predicted_ms"] += work.count * work.microseconds / 1e3
    return dict(sorted(found.items(), key=lambda item: -item[1]["predicted_ms"]))


def torch_step(sizes: Sizes) -> list[Work]:
    """The GPT-2 step of `gpu_model` in PyTorch's eager mode, with its fused AdamW.

    Source: torch.amp's lists, ATen's native functions; log_softmax of long rows is taken to read
    them once. FlashAttention-2's backward sums dq in float32.
    """
    n, w, v = sizes.batch * sizes.length, sizes.width, sizes.vocabulary
    wide, narrow, layers = 4.0 * n * w, 2.0 * n * w, sizes.layers
    norms = 2 * layers + 1
    square = 2.0 * n * sizes.length * w  # a product of attention, causal: halved by two triangles
    works = [
        Work("embedding, position, sum", "embedding", wide, count=3),
        Work("native_layer_norm", "layer norm", 2 * wide, count=norms),
        Work("cast of its result", "casts", wide + narrow, count=norms),
        Work("cast of a weight", "casts", 6.0 * 12 * w * w / 4, count=4 * layers),
        Work("cast of a bias", "casts", 6.0 * w, count=4 * layers),
        Work("cast of the embedding", "casts", 6.0 * v * w),
        Work("flash attention", "attention", 4 * narrow, square * 2 / 2, layers),
        Work("residual sum", "residual sums", 2 * wide + narrow, count=2 * layers),
        Work("gelu", "gelu", 8 * narrow, count=layers),
        Work("cast of the scores", "casts", 6.0 * n * v),
        Work("log_softmax", "cross entropy", 8.0 * n * v),
        Work("nll_loss", "cross entropy", 8.0 * n),
        Work("nll_loss backward: zeros", "cross entropy", 4.0 * n * v),
        Work("nll_loss backward", "cross entropy", 8.0 * n),
        Work("log_softmax backward", "cross entropy", 12.0 * n * v),
        Work("cast of its result", "casts", 6.0 * n * v),
        Work("cast of a residual's gradient", "casts", wide + narrow, count=2 * layers),
        Work("gelu backward", "gelu", 12 * narrow, count=layers),
        Work("cast of a product's gradient", "casts", wide + narrow, count=norms),
        Work("native_layer_norm backward", "layer norm", 3 * wide, count=norms),
        Work("its weights", "layer norm", 2 * wide, count=norms),
        Work("sum of gradients", "residual sums", 3 * wide, count=2 * layers),
        Work("flash attention backward", "attention", 16 * narrow, square * 5 / 2, layers),
        Work("joining of q, k, v", "joining", 6 * narrow, count=layers),
        Work("cast of a weight's gradient", "casts", 6.0 * 12 * w * w / 4, count=4 * layers),
        Work("cast of a bias's gradient", "casts", 6.0 * w, count=4 * layers),
        Work("cast of the embedding's gradient", "casts", 6.0 * v * w),
        Work("embedding backward: zeros", "embedding", 4.0 * v * w),
        Work("embedding backward", "embedding", 3 * wide),
        Work("sum of the embedding's gradients", "embedding", 12.0 * v * w),
    ]
    parameters = v * w + sizes.length * w + layers * (12 * w * w + 13 * w) + 2 * w
    works.append(Work("AdamW", "optimizer", 28.0 * parameters))
    for outputs, inputs in ((3 * w, w), (w, w), (4 * w, w), (w, 4 * w)):
        size = 2.0 * (n * outputs + n * inputs + outputs * inputs)
        works.append(
            Work(
                f"product of {inputs}->{outputs}",
                "products",
                size,
                2.0 * n * outputs * inputs,
                3 * layers,
            )
        )
        works.append(Work("bias gradient", "bias gradients", 2.0 * n * outputs, count=layers))
    works.append(
        Work("product of the head", "products", 2.0 * (n * v + n * w + v * w), 2.0 * n * v * w, 3)
    )
    return works
