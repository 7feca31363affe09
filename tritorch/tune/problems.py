"""Finding a kernel's problem, completing its sizes, and telling what facts they come to.

Users give sizes in either case (`--shape M=1024,K=64`). Facts that a trace saw become sizes by
their names, so that a workload of those sizes asks the kernel's choice for those very facts
(`choice_of` looks).
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isqrt, prod
from typing import Any

from tritorch import dtypes
from tritorch.errors import TuneError
from tritorch.kernels import tuning
from tritorch.kernels.user import UserKernel
from tritorch.ops.declare import OPS
from tritorch.tensor import Tensor
from tritorch.tune.workloads import PROBLEMS, Problem, Sizes, Workload


def user_kernel(name: str) -> UserKernel:
    """A user's kernel, `module:name`; the module is imported.

    Raises:
        TuneError: there is no such module or kernel, or it declares no way to run it.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise TuneError(f"tune: cannot find {name}: {error}.") from error
    if not isinstance(found, UserKernel):
        raise TuneError(
            f"tune: {name} is {type(found).__name__}, no kernel. "
            "Decorate it with @tritorch.kernels.kernel(...)."
        )
    if found.grid is None or found.example is None:
        raise TuneError(
            f"tune: {name} declares no grid= or no example=, so it cannot be run. "
            "Give both to @tritorch.kernels.kernel."
        )
    return found


#: kind of an operation -> the kernel that is generated for it
_GENERATED = {
    "pointwise": "pointwise",
    "reduction": "reduction_rows",
    "scan": "scan_rows",
}


def names(device: str = "cpu") -> list[str]:
    """The library's kernels that can be tuned on a device."""
    kind = device.partition(":")[0]
    return sorted(name for name, found in PROBLEMS.items() if found.device in (None, kind))


def find(name: str) -> Problem:
    """The problem of a kernel, of an operation with a generated kernel, or of `module:name`.

    Raises:
        TuneError: no such kernel; the nearest names are suggested.
    """
    if ":" in name:
        kernel = user_kernel(name)
        integers = dict.fromkeys(kernel.keys)
        return Problem(name, integers, _user_workload(kernel), kinds=("float32",))
    generated = {op.name: _GENERATED[op.kind] for op in OPS if op.kind in _GENERATED}
    if name in generated:
        problem = PROBLEMS[generated[name]]
        return replace(problem, sizes={**problem.sizes, "operation": name})
    if name not in PROBLEMS:
        near = difflib.get_close_matches(name, [*PROBLEMS, *generated], 3, 0.4)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise TuneError(
            f"tune: no kernel {name!r}.{hint} `tritorch kernels list` lists them; write "
            "module:name for one of your own."
        )
    return PROBLEMS[name]


def _user_workload(kernel: UserKernel) -> Callable[..., Workload]:
    def build(*, dtype: Any, **sizes: Any) -> Workload:
        assert kernel.example is not None
        given = {name: value for name, value in sizes.items() if value is not None}
        try:
            arguments = dict(kernel.example(**given))
        except TypeError as error:
            raise TuneError(
                f"tune: example= of {kernel.tunable.name} failed: {error}. Give its sizes with "
                "--shape."
            ) from error
        tensors = {n: v for n, v in arguments.items() if isinstance(v, Tensor)}

        def call(*values: Tensor) -> Sequence[Tensor]:
            kernel(**{**arguments, **dict(zip(tensors, values))})
            return values

        return Workload(list(tensors.values()), call, moved=sum(t.nbytes for t in tensors.values()))

    return build


def complete(problem: Problem, given: Sizes, dtype: str | None) -> tuple[dict[str, Any], str]:
    """All sizes of a problem, those that are not given by default, and its dtype.

    Raises:
        TuneError: an unknown name, a size that is none, a dtype it is not for.
    """
    named = {name.lower(): name for name in problem.sizes}
    sizes = dict(problem.sizes)
    for name, value in given.items():
        if name.lower() not in named:
            raise TuneError(
                f"tune: {problem.kernel} has no size {name!r}; it has "
                f"{', '.join(problem.sizes) or 'none'}."
            )
        usual = sizes[named[name.lower()]]
        if isinstance(usual, str):
            fits = isinstance(value, str)
        else:
            fits = isinstance(value, bool) or (isinstance(value, int) and value >= 1)
        if not fits:
            raise TuneError(
                f"tune: {problem.kernel}: impossible size {name}={value}. Give a whole number >= 1."
            )
        sizes[named[name.lower()]] = value
    dtype = dtype or problem.kinds[0]
    if dtype not in dtypes.BY_NAME or (":" not in problem.kernel and dtype not in problem.kinds):
        raise TuneError(
            f"tune: {problem.kernel} is not tuned for dtype {dtype!r}. Choose from "
            f"{', '.join(problem.kinds)}."
        )
    total = prod(v for v in sizes.values() if isinstance(v, int) and not isinstance(v, bool))
    if ":" not in problem.kernel and total > 1 << 44:
        raise TuneError(
            f"tune: {problem.kernel}: sizes {sizes} are too large to run here. Give smaller ones."
        )
    return sizes, dtype


def from_facts(kernel: str, facts: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Sizes and dtype of a workload for facts that a trace saw, as far as their names agree."""
    problem = find(kernel)
    sizes = {name: facts[name] for name in problem.sizes if name in facts}
    kind = facts.get("dtype") or str(facts.get("dtypes", "")).partition(" ")[0] or None
    if "side" in problem.sizes and "columns" in facts:
        sizes["side"] = max(isqrt(facts["columns"]), 1)
    if "batch" in problem.sizes and "count" in facts:
        sizes["batch"] = facts["count"]
    return sizes, kind


def choice_of(
    tunable: str, target: str, run: Callable[[], Any]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The facts for which `run()` asks a kernel's choice on a target first, and what was chosen;
    None if it does not ask."""
    seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def observe(
        asked: tuning.Tunable, of: str, facts: tuning.Facts, choice: tuning.Configuration
    ) -> None:
        if asked.name == tunable and of == target:
            seen.append((dict(facts), dict(choice)))

    tuning.observers.append(observe)
    try:
        run()
    finally:
        tuning.observers.remove(observe)
    return seen[0] if seen else None
