"""What kernels need on GPUs, without one: `python -m tests.devices.gpu_kernels [NAME ...]`.

Expressions of the oracle run on the simulated GPU; the kernels that are planned for it are compiled
for real architectures. The table has registers of a thread, bytes of its stack (spilled registers),
shared memory of a block and machine code, as the cubins say. `--json FILE` writes one row for each
kernel; `--part k/n` takes every n-th name.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tritorch as torch
from tests.oracle.compare import outcome, table
from tests.oracle.inputs import Variant
from tests.runtime.cuda import simulated
from tritorch import triton_api
from tritorch.errors import CompileError
from tritorch.runtime.cuda import cubin
from tritorch.runtime.cuda.code import LaunchFacts, argument_types

ARCHITECTURES = (80, 90, 100)
VARIANTS = (
    Variant("float32", "float32", gradients=1),
    Variant("bfloat16", "bfloat16", gradients=1),
)


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


@dataclass(frozen=True)
class Needs:
    """What a compiled kernel takes of a multiprocessor."""

    architecture: int
    warps: int
    registers: int
    stack_bytes: int
    shared_bytes: int
    code_bytes: int


def planned(names: Iterable[str]) -> list[Planned]:
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
                    for variant in VARIANTS:
                        outcome(torch, expression, variant)
        finally:
            torch.set_default_device(None)
            target._compile_code = compile_code
    return list(found.values())


def needs(kernel: Planned, architecture: int) -> Needs:
    """Compile it; the launch's facts and arguments are checked on the way."""
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
    return Needs(
        architecture,
        facts.num_warps,
        found.registers,
        found.stack_bytes,
        found.shared_bytes + facts.shared_bytes,
        found.code_bytes,
    )


def compiled(kernels: list[Planned]) -> Iterator[tuple[Planned, Needs | str]]:
    """Each kernel for one architecture, in turn; the words of the error where it fails."""
    for turn, kernel in enumerate(kernels):
        try:
            yield kernel, needs(kernel, ARCHITECTURES[turn % len(ARCHITECTURES)])
        except CompileError as error:
            yield kernel, str(error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of operations, as in tests/oracle; default: all")
    parser.add_argument("--seconds", type=float, default=280, help="stop compiling after that")
    parser.add_argument("--part", default="1/1", help="k/n: every n-th name, from the k-th on")
    parser.add_argument("--json", type=Path, help="where the rows are written")
    arguments = parser.parse_args()
    first, step = map(int, arguments.part.split("/"))
    names = (arguments.names or sorted(table()))[first - 1 :: step]
    rows: list[dict[str, Any]] = []
    kernels = planned(names)
    start = time.monotonic()
    print(f"{len(kernels)} kernels of {len(names)} names")
    print(f"{'kernel':50} {'sm':>4} warps registers stack shared  code")
    done, wrong = 0, []
    for kernel, found in compiled(kernels):
        done += 1
        if isinstance(found, str):
            wrong.append(found)
        else:
            rows.append({"kernel": kernel.name, "options": dict(kernel.options), **asdict(found)})
            print(
                f"{kernel.name:50.50} {found.architecture:>4} {found.warps:>5} "
                f"{found.registers:>9} {found.stack_bytes:>5} {found.shared_bytes:>6} "
                f"{found.code_bytes:>5}"
            )
        if time.monotonic() - start > arguments.seconds:
            break
    spilled = [row for row in rows if row["stack_bytes"]]
    print(f"{len(spilled)} spill registers: {', '.join(sorted({r['kernel'] for r in spilled}))}")
    if arguments.json is not None:
        report = {"kernels": len(kernels), "compiled": done, "failed": wrong, "rows": rows}
        arguments.json.write_text(json.dumps(report) + "\n")
    print(f"{done} of {len(kernels)} compiled in {time.monotonic() - start:.0f} s")
    print("\n".join(["", f"{len(wrong)} do not compile", *wrong]))


if __name__ == "__main__":
    main()
