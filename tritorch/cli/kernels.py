"""`tritorch kernels`: the kernels and every form they take on their way to machine code."""

from __future__ import annotations

import difflib
from fnmatch import fnmatch
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tritorch.cli import output, sizes
from tritorch.errors import CompileError, TuneError

if TYPE_CHECKING:
    from tritorch.runtime import Kernel

#: stage -> how it is highlighted
STAGES = {
    "triton": "python", "ttir": "llvm", "llir": "llvm", "asm": "gas", "ptx": "gas", "sass": "gas",
}  # fmt: skip

#: of an operand that is made only to see which kernel runs
_MOST_ELEMENTS = 1 << 27


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="The kernels, from Triton to machine code.")
    group.command("list")(list_)
    group.command("show")(show)
    app.add_typer(group, name="kernels")


def list_(
    pattern: Annotated[str, typer.Argument(help="Names, * for any text.")] = "*",
    as_json: output.Json = False,
) -> None:
    """The hand-written kernels that can be tuned: their spaces and what the choice depends on.

    The kernels of pointwise operations, reductions and scans are generated: `tritorch ops` lists
    those.

    Example: tritorch kernels list 'matmul*'
    """
    from tritorch.kernels import tuning
    from tritorch.tune import problems

    found = [
        {
            "kernel": name,
            "space": {key: list(values) for key, values in tunable.space.items()},
            "key": list(tunable.key),
            "sizes": problems.PROBLEMS[name].sizes if name in problems.PROBLEMS else None,
        }
        for name, tunable in sorted(tuning.TUNABLES.items())
        if fnmatch(name, pattern)
    ]
    if as_json:
        output.as_json(found)
        return
    output.table(
        ["kernel", "depends on", "space", "sizes (defaults)"],
        (
            [
                entry["kernel"],
                " ".join(entry["key"]),  # type: ignore[arg-type]
                " ".join(f"{n}={'|'.join(map(str, v))}" for n, v in entry["space"].items()),  # type: ignore[union-attr]
                "GPU only" if entry["sizes"] is None else sizes.text(entry["sizes"]),  # type: ignore[arg-type]
            ]
            for entry in found
        ),
    )


def show(
    name: Annotated[str, typer.Argument(help="A kernel, or an operation whose kernels to show.")],
    stage: Annotated[
        str, typer.Option(help="triton, ttir, llir or asm; ptx or sass for a GPU.")
    ] = "triton",
    shape: Annotated[
        str | None, typer.Option(help="Sizes of a kernel (M=64,N=64), or of operands: 32,64.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, ...")] = "float32",
    gpu: Annotated[
        str, typer.Option(help="For ptx and sass: the architecture, as sm_90.")
    ] = "sm_90",
    as_json: output.Json = False,
) -> None:
    """The source of the kernels that a name stands for, at a stage of their way.

    Example: tritorch kernels show gelu --stage asm
    """
    if stage not in STAGES:
        raise TuneError(f"kernels: no stage {stage!r}. Choose from {', '.join(STAGES)}.")
    kernels = _launched(name, shape, dtype)
    texts = [(kernel, _text(kernel, stage, gpu)) for kernel in kernels]
    if as_json:
        output.as_json(
            [
                {
                    "kernel": kernel.name,
                    "signature": kernel.signature,
                    "constants": kernel.constants,
                    "stage": stage,
                    "text": text,
                }
                for kernel, text in texts
            ]
        )
        return
    from rich.syntax import Syntax

    console = output.console()
    for kernel, text in texts:
        title = f"# {kernel.name}({sizes.text(kernel.signature)}) {sizes.text(kernel.constants)}"  # type: ignore[arg-type]
        if console.is_terminal:
            console.print(title, style="bold", highlight=False)
            shown = Syntax(text, STAGES[stage], background_color="default", word_wrap=True)
            console.print(shown)
        else:  # for files and pipes: the text as it is
            print(title)
            print(text)


def _launched(name: str, shape: str | None, dtype: str) -> list[Kernel]:
    """The kernels that run for a name: a tunable kernel's own, or all of an operation's."""
    import tritorch
    from tritorch.kernels import tuning
    from tritorch.tune import problems

    if name in problems.PROBLEMS or ":" in name:
        problem = problems.find(name)
        given, kind = problems.complete(problem, sizes.parse(shape) if shape else {}, dtype)
        workload = problem.build(dtype=getattr(tritorch, kind), **given)
        ready = workload.prepare(*workload.inputs) if workload.prepare else workload.inputs
        found = tritorch.kernels.launched(workload.call, *ready)
        plain = name.rpartition(":")[2]
        return [kernel for kernel in found if kernel.name == plain] or found
    if name in tuning.TUNABLES:
        raise CompileError(f"kernels: {name} runs on GPUs only; there is nothing to show on a CPU.")
    found = tritorch.kernels.launched(_operation(name, shape, dtype))
    if not found:
        raise CompileError(f"kernels: {name} launched no kernel for these operands.")
    return found


def _operation(name: str, shape: str | None, dtype: str) -> Any:
    """A call of an operation on operands of a shape, or on those that its tests use."""
    import numpy as np

    import tritorch as torch
    from tritorch.ops.declare import OPS

    known = {op.name: op for op in OPS}
    op = known.get(name)
    if op is None:
        from tritorch.tune import problems

        near = difflib.get_close_matches(name, [*known, *problems.PROBLEMS], 3, 0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise TuneError(f"kernels: no kernel or operation {name!r}.{hint}")
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise TuneError(f"kernels: no dtype {dtype!r}.")
    random = np.random.default_rng(0)
    if shape is None and op.cases:
        arguments, options = op.cases[0](
            lambda *size, low=-1.0, high=1.0: random.uniform(low, high, size)
        )
        values = [
            torch.tensor(a, dtype=kind if a.dtype.kind == "f" else None)
            if isinstance(a, np.ndarray)
            else a
            for a in arguments
        ]
        return lambda: op.function(*values, **options)
    try:
        size = [int(part) for part in (shape or "1024").split(",")]
    except ValueError:
        raise TuneError(f"kernels: cannot read the shape {shape!r}. Write 32,64.") from None
    if min(size) < 0 or prod(size) > _MOST_ELEMENTS:
        raise TuneError(
            f"kernels: impossible shape {shape}. Give sizes >= 0, of {_MOST_ELEMENTS} elements at "
            "most."
        )
    low, high = (1, 3) if op.promote == "integral" else (op.low, op.high)
    numbers = [random.uniform(low, high, size) for _ in range(op.operands or 1)]
    if op.promote == "integral" and kind.is_floating_point:
        kind = torch.int32
    operands = [torch.tensor(n).to(kind) for n in numbers]
    return lambda: op.function(*operands)


def _text(kernel: Kernel, stage: str, gpu: str) -> str:
    from tritorch import triton_api

    if stage in ("ptx", "sass"):
        architecture = gpu.removeprefix("sm_")
        if not architecture.isdigit():
            raise CompileError(f"kernels: no architecture {gpu!r}. Write sm_80, sm_90 or sm_100.")
        found = triton_api.compile_gpu(
            kernel.source, kernel.signature, kernel.constants, ("cuda", int(architecture))
        )
        if stage == "ptx":
            return str(found.assembly["ptx"])
        return triton_api.disassemble(found)
    from tritorch.triton_cpu.compile import stages

    name = "source" if stage == "triton" else stage
    return stages(kernel.source, kernel.signature, kernel.constants)[name]
