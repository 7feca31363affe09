"""What kernels need on GPUs, without one: `python -m tests.devices.gpu_kernels [NAME ...]`.

Expressions of the oracle run on the simulated GPU; the kernels that are planned for it are compiled
for real architectures. The table has registers of a thread, bytes of its stack and how many of them
hold spilled registers (the others are arrays of the program), shared memory of a block and machine
code, as the cubins say.

`--sample` takes names in float32 and bfloat16 by turns, and of each text one kernel for each list
of argument types. `--json FILE` adds to the file after each name; names and kernels that it has are
left out, so a run of all names may be done in pieces of `--seconds`. `--rows PATTERN` takes the
rows of `bench.gpu` instead, in full size: they are planned, and nothing runs.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import tritorch as torch
import tritorch.runtime
from bench.gpu_rows import ROWS, Row
from tests.oracle.compare import outcome, table
from tests.oracle.inputs import Variant
from tests.runtime.cuda import simulated
from tests.runtime.cuda.fake_driver import FakeDriver, Launched
from tritorch import triton_api
from tritorch.errors import CompileError
from tritorch.runtime.cuda import cubin
from tritorch.runtime.cuda.code import KernelCode, LaunchFacts, argument_types
from tritorch.runtime.cuda.target import CUDATarget

ARCHITECTURES = (80, 90, 100)
VARIANTS = (
    Variant("float32", "float32", gradients=1),
    Variant("bfloat16", "bfloat16", gradients=1),
)
#: registers of a thread from which on a kernel is listed: few blocks fit on a multiprocessor
MANY_REGISTERS = 200
_LOCAL_ARRAY = re.compile(r"\.local\s+\.align\s+\d+\s+\.b8\s+\w+\[(\d+)\]")


@dataclass(frozen=True)
class Planned:
    """A kernel as the target was asked to compile it."""

    source: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.source.name)

    @property
    def types(self) -> str:
        return ",".join(triton_api.split_signature(self.signature)[0].values())


@dataclass(frozen=True)
class Needs:
    """What a compiled kernel takes of a multiprocessor; `spilled_bytes` are among the stack's."""

    architecture: int
    warps: int
    registers: int
    stack_bytes: int
    spilled_bytes: int
    shared_bytes: int
    code_bytes: int


def planned(names: Iterable[str], variants: Sequence[Variant] = VARIANTS) -> list[Planned]:
    """The kernels that expressions of these names launch on a GPU, each once."""
    expressions = table()
    found: dict[Any, Planned] = {}
    with simulated.simulated_gpu() as (target, _):
        compile_code = target._compile_code

        def recorded(
            source: Any,
            signature: Mapping[str, str],
            constants: Mapping[str, Any],
            capability: int,
            options: Mapping[str, Any] | None = None,
        ) -> Any:
            key = source.digest, tuple(signature.items()), repr(sorted(constants.items()))
            found[key] = Planned(source, dict(signature), dict(constants), dict(options or {}))
            return compile_code(source, signature, constants, capability, options)

        target._compile_code = recorded
        torch.set_default_device("cuda")
        try:
            for name in names:
                for expression in expressions[name]:
                    for variant in variants:
                        outcome(torch, expression, variant)
        finally:
            torch.set_default_device(None)
            target._compile_code = compile_code
    return list(found.values())


class Planner:
    """Stands in for the compiler and the GPU: kernels are noted, launches do nothing."""

    def __init__(self) -> None:
        self.kernels: list[Planned] = []
        #: each launch: the kernel's place, programs, bytes that its arguments point to
        self.launches: list[tuple[int, int, int]] = []
        self.target: CUDATarget | None = None

    def compile(
        self,
        source: Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        capability: int,
        options: Mapping[str, Any] | None = None,
    ) -> KernelCode:
        kernel = Planned(source, dict(signature), dict(constants), dict(options or {}))
        self.kernels.append(kernel)
        types, _ = triton_api.split_signature(signature)
        code = (len(self.kernels) - 1).to_bytes(8, "little")
        return KernelCode(kernel.name, code, LaunchFacts(), tuple(types.values()), True, 0.0)

    def sizes(self, code: bytes) -> tuple[str, list[int]]:
        kernel = self.kernels[int.from_bytes(code, "little")]
        return kernel.name, [simulated._size(kind) for kind in (*kernel.types.split(","), "*", "*")]

    def run(self, code: bytes, launched: Launched) -> None:
        at = int.from_bytes(code, "little")
        kinds = self.kernels[at].types.split(",")
        addresses = [
            int.from_bytes(value, "little")
            for kind, value in zip(kinds, launched.arguments)
            if kind.startswith("*")
        ]
        x, y, z = launched.grid
        self.launches.append((at, x * y * z, sum(map(self._bytes_at, addresses))))

    def _bytes_at(self, address: int) -> int:
        block = self.target and self.target._blocks.get(address)
        return block.requested if block else 0


@contextmanager
def planning_gpu(architecture: int) -> Iterator[Planner]:
    """A large GPU on which nothing happens; what is planned there is in the planner's list."""
    planner = Planner()
    driver = FakeDriver(
        nbytes=1 << 37, capability=architecture, run=planner.run, sizes=planner.sizes
    )
    target = planner.target = CUDATarget(driver, planner.compile)
    with mock.patch.dict(tritorch.runtime._targets, {"cuda": target}):
        yield planner


def planned_row(row: Row, planner: Planner) -> list[Planned]:
    """The kernels of a row of the bench in full size that no row before it had."""
    first = len(planner.kernels)
    planned_launches(row, planner)
    return planner.kernels[first:]


def planned_launches(row: Row, planner: Planner) -> list[tuple[Planned, int, int]]:
    """What a later call of a row launches: kernels, numbers of programs, bytes of arguments."""
    torch.set_float32_matmul_precision(row.precision)
    try:
        call = row.program(torch, 1.0)
        call()
        planner.launches.clear()
        call()
    finally:
        torch.set_float32_matmul_precision("highest")
    return [(planner.kernels[at], programs, moved) for at, programs, moved in planner.launches]


def plan_for(architecture: int) -> None:
    """Let this process plan for GPUs of one architecture, before it plans anything."""
    target, driver = simulated._gpu()
    driver.capability = architecture
    target._properties.clear()


def needs(kernel: Planned, architecture: int) -> Needs:
    """Compile it; the launch's facts and arguments are checked on the way."""
    return with_binary(kernel, architecture)[0]


def with_binary(kernel: Planned, architecture: int) -> tuple[Needs, bytes]:
    """The same with the cubin."""
    code = triton_api.compile_gpu(
        kernel.source, kernel.signature, kernel.constants, ("cuda", architecture), kernel.options
    )
    binary = code.assembly["cubin"]
    assert isinstance(binary, bytes)
    facts = LaunchFacts.of(code.name, code.metadata)
    found = cubin.kernels(binary)[code.name]
    argument_types(
        code.name, kernel.signature, len(found.parameters), code.metadata["tensordesc_meta"]
    )
    arrays = sum(map(int, _LOCAL_ARRAY.findall(str(code.assembly["ptx"]))))
    result = Needs(
        architecture,
        facts.num_warps,
        found.registers,
        found.stack_bytes,
        max(found.stack_bytes - arrays, 0),
        found.shared_bytes + facts.shared_bytes,
        found.code_bytes,
    )
    return result, binary


def compiled(
    kernels: Iterable[Planned], architectures: Sequence[int] = ARCHITECTURES
) -> Iterator[tuple[Planned, Needs | str]]:
    """Each kernel for one architecture, in turn; the words of the error where it fails."""
    for turn, kernel in enumerate(kernels):
        try:
            yield kernel, needs(kernel, architectures[turn % len(architectures)])
        except CompileError as error:
            yield kernel, str(error)


class Report:
    """Rows of kernels by text, types and options; kept in a file where there is one."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        found = json.loads(path.read_text()) if path is not None and path.exists() else {}
        self.names: list[str] = found.get("names", [])
        self.failed: list[str] = found.get("failed", [])
        self.rows: list[dict[str, Any]] = found.get("kernels", [])
        self._known = {(row["text"], row["types"], str(row["constants"])) for row in self.rows}

    def is_new(self, kernel: Planned, sample: bool) -> bool:
        """Whether it is the first of its kind; it counts as known from now on."""
        key = _text(kernel), kernel.types, "" if sample else str(dict(kernel.constants))
        if sample and any(known[:2] == key[:2] for known in self._known):
            return False
        if key in self._known:
            return False
        self._known.add(key)
        return True

    def add(self, kernel: Planned, found: Needs | str) -> None:
        if isinstance(found, str):
            self.failed.append(found)
            return
        self.rows.append(
            {
                "kernel": kernel.name, "text": _text(kernel), "types": kernel.types,
                "constants": _plain(kernel.constants), "options": dict(kernel.options),
                **asdict(found),
            }
        )  # fmt: skip

    def write(self) -> None:
        if self.path is None:
            return
        head = {"triton": triton_api.triton_version(), "names": self.names, "failed": self.failed}
        rows = ",\n".join(json.dumps(row) for row in self.rows)
        self.path.write_text(json.dumps(head)[:-1] + f',\n"kernels": [\n{rows}\n]}}\n')


def _text(kernel: Planned) -> str:
    return str(kernel.source.digest)[:12]


def _plain(constants: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (bool, int, float, str)) or value is None else str(value)
        for name, value in constants.items()
    }


_COLUMNS = f"{'kernel':50} {'sm':>4} warps registers stack spilled shared  code"


def _line(row: Mapping[str, Any]) -> str:
    return (
        f"{row['kernel']:50.50} {row['architecture']:>4} {row['warps']:>5} {row['registers']:>9} "
        f"{row['stack_bytes']:>5} {row['spilled_bytes']:>7} {row['shared_bytes']:>6} "
        f"{row['code_bytes']:>5}"
    )


def _of_names(given: argparse.Namespace, report: Report) -> Iterator[tuple[str, list[Planned]]]:
    first, step = map(int, given.part.split("/"))
    every = sorted(table())
    if given.architecture:
        plan_for(given.architecture)
    for name in (given.names or every)[first - 1 :: step]:
        if name not in report.names:
            turn = every.index(name) % len(VARIANTS)
            yield name, planned([name], VARIANTS[turn : turn + 1] if given.sample else VARIANTS)


def _of_rows(given: argparse.Namespace, report: Report) -> Iterator[tuple[str, list[Planned]]]:
    with planning_gpu(given.architecture or 90) as planner:
        for row in ROWS:
            name = f"{row.group}: {row.name}"
            if name not in report.names and re.search(given.rows, name):
                yield name, planned_row(row, planner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="of operations, as in tests/oracle; default: all")
    parser.add_argument("--seconds", type=float, default=280, help="stop after that")
    parser.add_argument("--part", default="1/1", help="k/n: every n-th name, from the k-th on")
    parser.add_argument("--json", type=Path, help="where the rows are kept")
    parser.add_argument("--sample", action="store_true", help="fewer kernels of each name")
    parser.add_argument(
        "--architecture", type=int, choices=ARCHITECTURES, help="plan and compile for this one"
    )
    parser.add_argument("--rows", help="a pattern of the rows of bench.gpu to take instead")
    given = parser.parse_args()
    architectures: Sequence[int] = ARCHITECTURES
    if given.architecture or given.rows is not None:
        architectures = (given.architecture or 90,)
    report = Report(given.json)
    start = time.monotonic()
    print(_COLUMNS)
    work = _of_names if given.rows is None else _of_rows
    for name, kernels in work(given, report):
        new = [kernel for kernel in kernels if report.is_new(kernel, given.sample)]
        for kernel, found in compiled(new, architectures):
            report.add(kernel, found)
            if not isinstance(found, str):
                print(_line(report.rows[-1]), flush=True)
        report.names.append(name)
        report.write()
        if time.monotonic() - start > given.seconds:
            break
    for word, wanted in (
        ("spill registers", [row for row in report.rows if row["spilled_bytes"]]),
        (
            f"need more than {MANY_REGISTERS} registers",
            [row for row in report.rows if row["registers"] > MANY_REGISTERS],
        ),
    ):
        print("\n".join([f"{len(wanted)} {word}", *map(_line, wanted)]))
    print("\n".join([f"{len(report.failed)} do not compile", *report.failed]))
    print(
        f"{len(report.rows)} kernels of {len(report.names)} names; {time.monotonic() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
