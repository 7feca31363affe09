"""Numbers of kernels that do not fit their type, for tensors beyond 2^31 elements.

`python -m tests.devices.gpu_ranges [PATTERN]` plans programs on large tensors for a GPU where
nothing happens, and follows the ranges of integers through the Triton IR of each kernel as it was
launched: sums, differences and products of 32 bits that may pass 2^31 are listed, and kernels that
do not compile for 64-bit sizes. Numbers that are loaded are not followed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tritorch.triton_cpu.ir import Block, Operation, Value

#: (least, greatest) of an integer; None: not known
Range = tuple[int, int] | None
_LIMITS = {"i32": 1 << 31, "i16": 1 << 15}


@dataclass
class Ranges:
    """The ranges of one launch's integers.

    Args:
        values: of the kernel's arguments, in order; None where they are no integers.
        grid: how many programs there are.
    """

    values: Sequence[int | None]
    grid: Sequence[int]

    def __post_init__(self) -> None:
        self.known: dict[Value, Range] = {}
        self.overflows: list[str] = []

    def function(self, function: Operation) -> list[str]:
        """What overflows in it."""
        blocks = function.regions[0]
        for argument, value in zip(blocks[0].arguments, self.values):
            self.known[argument] = None if value is None else (value, value)
        for block in blocks:
            self.block(block)
        return self.overflows

    def block(self, block: Block) -> None:
        for operation in block.operations:
            self.operation(operation)

    def operation(self, operation: Operation) -> None:
        name = operation.name
        ranges = [self.known.get(value) for value in operation.operands]
        found: Range = None
        if name == "arith.constant":
            number = operation.attributes.get("value")
            found = (number, number) if isinstance(number, int) else None
        elif name in ("tt.get_program_id", "tt.get_num_programs"):
            size = [*self.grid, 1, 1][int(operation.attributes.get("axis", 0))]
            found = (0, size - 1) if name == "tt.get_program_id" else (size, size)
        elif name == "tt.make_range":
            found = operation.attributes["start"], operation.attributes["end"] - 1
        elif name in _MOVES and ranges:
            found = ranges[0]
        elif name == "arith.trunci":
            limit = _LIMITS.get(operation.results[0].type.element)
            if ranges[0] is not None and limit and -limit <= ranges[0][0] <= ranges[0][1] < limit:
                found = ranges[0]
        elif name == "arith.select":
            found = _either(ranges[1], ranges[2])
        elif name in _RULES and None not in ranges and not any(map(_is_hash, ranges)):
            found = _RULES[name](*ranges)
            found = self.fitting(operation, found)
        elif name == "arith.remsi" and ranges[1] is not None:
            most = max(abs(ranges[1][0]), abs(ranges[1][1])) - 1
            low = 0 if ranges[0] is not None and ranges[0][0] >= 0 else -most
            high = most if ranges[0] is None else min(most, max(ranges[0][1], 0))
            found = (low, high)
        elif name == "arith.minsi" and (ranges[0] or ranges[1]):
            found = None  # only one side is known: nothing is said of the least
        for region in operation.regions:
            for block in region:
                if name == "scf.for":
                    self.known[block.arguments[0]] = _induction(ranges)
                self.block(block)
        for result in operation.results:
            self.known[result] = found if len(operation.results) == 1 else None

    def fitting(self, operation: Operation, found: Range) -> Range:
        limit = _LIMITS.get(operation.results[0].type.element)
        if found is None or limit is None or (-limit <= found[0] and found[1] < limit):
            return found
        ranges = [self.known.get(value) for value in operation.operands]
        self.overflows.append(f"line {operation.line}: {operation.name} of {ranges} is {found}")
        return None


def _is_hash(one: Range) -> bool:
    """Whether it is a constant of the random numbers, whose products are meant to wrap."""
    return one is not None and one[0] == one[1] and 1 << 27 < abs(one[0]) < 1 << 31


def _either(one: Range, other: Range) -> Range:
    if one is None or other is None:
        return None
    return min(one[0], other[0]), max(one[1], other[1])


def _induction(ranges: Sequence[Range]) -> Range:
    start, end = ranges[0], ranges[1]
    return None if start is None or end is None else (start[0], max(end[1] - 1, start[0]))


def _products(one: tuple[int, int], other: tuple[int, int]) -> Range:
    every = [a * b for a in one for b in other]
    return min(every), max(every)


def _quotients(one: tuple[int, int], other: tuple[int, int]) -> Range:
    if other[0] <= 0:
        return None
    every = [int(a / b) if abs(a) < 1 << 50 else a // b for a in one for b in other]
    return min(every), max(every)


_MOVES = frozenset(
    {"tt.splat", "tt.broadcast", "tt.expand_dims", "tt.reshape", "tt.trans", "arith.extsi",
     "arith.extui", "tt.unsplat"}
)  # fmt: skip
_RULES: Mapping[str, Callable[..., Range]] = {
    "arith.addi": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "arith.subi": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "arith.muli": _products,
    "arith.divsi": _quotients,
    "arith.minsi": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "arith.maxsi": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
}


#: beyond what 32 bits count, in one dimension, two, and as images
LONG, ROWS, COLUMNS = (1 << 31) + (1 << 17) + 3, (1 << 17) + 8, (1 << 14) + 8


def _programs(torch: Any) -> dict[str, Callable[[], Any]]:
    """Programs on large tensors; those that return a tensor have gradients."""
    functional = torch.nn.functional

    def flat(kind: Any = None) -> Any:
        return torch.empty(LONG, dtype=kind or torch.bfloat16, requires_grad=kind is None)

    def table(rows: int = ROWS, columns: int = COLUMNS) -> Any:
        return torch.empty(rows, columns, dtype=torch.bfloat16, requires_grad=True)

    def images(channels: int = 64, last: bool = False) -> Any:
        x = torch.empty(2050, channels, 128, 128, dtype=torch.bfloat16)
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        return x.requires_grad_()

    def indices(*shape: int) -> Any:
        return torch.empty(*shape, dtype=torch.int64)

    def weights(*shape: int) -> Any:
        return torch.empty(*shape, dtype=torch.bfloat16, requires_grad=True)

    def heads() -> tuple[Any, Any, Any]:
        shape = (130, 128, 1024, 128)
        return weights(*shape), weights(*shape), weights(*shape)

    def step(kind: Any, **options: Any) -> None:
        x = torch.empty(LONG, requires_grad=True)
        x.grad = torch.empty(LONG)
        torch.nn.utils.clip_grad_norm_([x], 1.0)
        kind([x], **options).step()

    every: dict[str, Callable[[], Any]] = {
        "add": lambda: flat() + 1, "add rows": lambda: table() + weights(COLUMNS),
        "add columns": lambda: table() * weights(ROWS, 1),
        "add turned": lambda: table() + weights(COLUMNS, ROWS).T,
        "add steps": lambda: flat()[::2] + 1, "cast": lambda: flat().float(),
        "where": lambda: torch.where(flat(torch.bool), flat(), 0.0),
        "copy turned": lambda: table().T.contiguous(),
        "permute": lambda: images().permute(0, 2, 3, 1).contiguous(),
        "gelu": lambda: functional.gelu(flat()), "dropout": lambda: functional.dropout(flat()),
        "randn": lambda: torch.randn(LONG), "arange": lambda: torch.arange(LONG),
        "sum": lambda: flat().sum(), "sum rows": lambda: table().sum(0),
        "sum columns": lambda: table().sum(1), "var": lambda: table().var(0),
        "amax": lambda: flat().amax(), "max": lambda: table().max(1)[0],
        "argmax": lambda: flat().argmax(), "argmax rows": lambda: table().argmax(0),
        "cumsum": lambda: flat().cumsum(0), "cumsum rows": lambda: table().cumsum(0),
        "cumsum columns": lambda: table().cumsum(1),
        "softmax": lambda: functional.softmax(table(), 1),
        "softmax rows": lambda: functional.log_softmax(table(), 0),
        "softmax many": lambda: functional.softmax(table(LONG // 50, 50), 1),
        "layer_norm": lambda: functional.layer_norm(table(), (COLUMNS,), weights(COLUMNS)),
        "rms_norm": lambda: functional.rms_norm(table(), (COLUMNS,), weights(COLUMNS)),
        "rms_norm many": lambda: functional.rms_norm(table(LONG // 64, 64), (64,), weights(64)),
        "group_norm": lambda: functional.group_norm(images(), 8, weights(64), weights(64)),
        "batch_norm": lambda: functional.batch_norm(
            images(), None, None, weights(64), weights(64), training=True),
        "batch_norm last": lambda: functional.batch_norm(
            images(last=True), None, None, weights(64), weights(64), training=True),
        "cross_entropy": lambda: functional.cross_entropy(table(), indices(ROWS)),
        "nll_loss": lambda: functional.nll_loss(table(), indices(ROWS)),
        "matmul": lambda: table(1 << 16, 64) @ weights(64, (1 << 15) + 8),
        "matmul deep": lambda: weights(64, ROWS) @ table(),
        "bmm": lambda: torch.bmm(weights(4100, 1024, 64), weights(4100, 64, 1024)),
        "attention": lambda: functional.scaled_dot_product_attention(*heads(), is_causal=True),
        "conv": lambda: functional.conv2d(images(), weights(64, 64, 3, 3), padding=1),
        "conv last": lambda: functional.conv2d(
            images(last=True), weights(64, 64, 3, 3), padding=1),
        "conv 1x1": lambda: functional.conv2d(images(), weights(64, 64, 1, 1)),
        "conv depthwise": lambda: functional.conv2d(
            images(), weights(64, 1, 3, 3), padding=1, groups=64),
        "max_pool": lambda: functional.max_pool2d(images(), 2),
        "max_pool last": lambda: functional.max_pool2d(images(last=True), 3, 2, 1),
        "avg_pool": lambda: functional.avg_pool2d(images(), 3, 1, 1),
        "adaptive": lambda: functional.adaptive_avg_pool2d(images(), 7),
        "interpolate": lambda: functional.interpolate(images(16), scale_factor=2.0),
        "bilinear": lambda: functional.interpolate(images(16), scale_factor=2.0, mode="bilinear"),
        "unfold": lambda: functional.unfold(images(16), 3, padding=1),
        "embedding": lambda: functional.embedding(indices(1 << 18), weights(50304, 8200)),
        "embedding large": lambda: functional.embedding(indices(64), weights(LONG // 64, 64)),
        "index_select": lambda: table().index_select(0, indices(ROWS)),
        "index_select columns": lambda: table().index_select(1, indices(COLUMNS)),
        "gather": lambda: table().gather(1, indices(ROWS, COLUMNS)),
        "gather rows": lambda: table().gather(0, indices(ROWS, COLUMNS)),
        "scatter_add": lambda: table().scatter_add(0, indices(ROWS, COLUMNS), table()),
        "index_add": lambda: table().index_add(0, indices(ROWS), table()),
        "index": lambda: table()[indices(ROWS)], "index pairs": lambda: flat()[indices(1 << 20)],
        "take": lambda: torch.take(flat(), indices(1 << 20)),
        "masked_fill": lambda: flat().masked_fill(flat(torch.bool), 0.0),
        "cat": lambda: torch.cat([flat(), flat()]), "cat columns": lambda: torch.cat(
            [table(), table()], 1),
        "stack": lambda: torch.stack([flat(), flat()]), "flip": lambda: flat().flip(0),
        "roll": lambda: flat().roll(5), "tril": lambda: table().tril(),
        "pad": lambda: functional.pad(table(), (1, 1)), "repeat": lambda: table().repeat(2, 1),
        "sort": lambda: table().sort(1)[0], "sort rows": lambda: table(ROWS, 16500).sort(0)[0],
        "sort few": lambda: table(LONG // 64, 64).sort(1)[0],
        "topk": lambda: table().topk(16, 1)[0], "topk one": lambda: table(4, LONG // 4).topk(16)[0],
        "bincount": lambda: torch.bincount(flat(torch.int64), minlength=10),
        "searchsorted": lambda: torch.searchsorted(torch.empty(64), torch.empty(LONG)),
        "one_hot": lambda: functional.one_hot(indices(LONG // 64), 64),
        "kthvalue": lambda: table().kthvalue(5, 1)[0],
        "sgd": lambda: step(torch.optim.SGD, lr=0.1, momentum=0.9),
        "adamw": lambda: step(torch.optim.AdamW),
        "adamw capturable": lambda: step(torch.optim.AdamW, capturable=True),
        "rope": lambda: table().view(ROWS, 2, -1).transpose(0, 1).contiguous(),
        "glu": lambda: functional.glu(table(), 1),
        "cdist": lambda: torch.cdist(torch.empty(1 << 16, 8), torch.empty((1 << 15) + 8, 8)),
    }  # fmt: skip
    return every


def _launches(pattern: str) -> None:
    """Print what overflows in the programs that match."""
    import tritorch as torch
    from tests.devices.gpu_kernels import Planned
    from tests.runtime.cuda.fake_driver import FakeDriver, Launched
    from tests.runtime.cuda.simulated import _size, _value
    from tritorch import triton_api
    from tritorch.errors import CompileError
    from tritorch.runtime import _targets
    from tritorch.runtime.cuda.code import KernelCode, LaunchFacts
    from tritorch.runtime.cuda.target import CUDATarget
    from tritorch.triton_cpu.parser import parse_module

    kernels: list[Planned] = []
    seen: set[Any] = set()

    def compile_code(
        source: Any, signature: Any, constants: Any, capability: int, options: Any = None
    ) -> KernelCode:
        kernel = Planned(source, dict(signature), dict(constants), dict(options or {}))
        kernels.append(kernel)
        types = tuple(triton_api.split_signature(signature)[0].values())
        code = (len(kernels) - 1).to_bytes(8, "little")
        return KernelCode(kernel.name, code, LaunchFacts(), types, True, 0.0)

    def sizes(code: bytes) -> tuple[str, list[int]]:
        kernel = kernels[int.from_bytes(code, "little")]
        return kernel.name, [_size(kind) for kind in (*kernel.types.split(","), "*", "*")]

    def run(code: bytes, launched: Launched) -> None:
        number = int.from_bytes(code, "little")
        kernel = kernels[number]
        kinds = kernel.types.split(",")
        values = [
            _value(kind, raw) if kind[0] in "iu" else None
            for kind, raw in zip(kinds, launched.arguments)
        ]
        if (number, *values, launched.grid) in seen:
            return
        seen.add((number, *values, launched.grid))
        try:
            ir = triton_api.lower_to_triton_ir(kernel.source, kernel.signature, kernel.constants)
        except CompileError as error:
            print(f"    {error}", flush=True)
            return
        functions = parse_module(ir.text, kernel.name)
        for overflow in Ranges(values, launched.grid).function(functions[0]):
            print(f"    {kernel.name} {launched.grid}: {overflow}", flush=True)

    driver = FakeDriver(nbytes=1 << 40, run=run, sizes=sizes)
    nothing = mock.patch.multiple(driver, copy=lambda *_: None, fill=lambda *_: None)
    target = CUDATarget(driver, compile_code)
    nothing.start()
    _targets["cuda"] = target
    torch.set_default_device("cuda")
    for name, program in _programs(torch).items():
        if re.search(pattern, name):
            print(name, flush=True)
            try:
                found = program()
                if isinstance(found, torch.Tensor) and found.requires_grad:
                    found.backward(torch.empty_like(found))
            except Exception as error:
                print(f"    {type(error).__name__}: {error!s:.300}")
            found = None
            target.empty_cache()


if __name__ == "__main__":
    _launches(sys.argv[1] if len(sys.argv) > 1 else "")
