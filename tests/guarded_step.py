"""Run by test_laws.py in a process of its own: the demo's training step with everything else
forbidden.

Forbidden: importing torch, starting any process (so no C compiler), NumPy arithmetic by function
or by
operator. The kernel cache is cold, so compilation happens under the guard too. Prints the launches
of
each kernel as JSON.
"""

from __future__ import annotations

import importlib.abc
import json
import os
import shutil
import sys
from typing import Any

import numpy as np


class NoTorch(importlib.abc.MetaPathFinder):
    """Makes `import torch` raise."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] == "torch":
            raise ImportError("torch is forbidden here")


def forbid_processes(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: no subprocess, however it is started."""
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn"):
        raise AssertionError(f"a process was started: {event} {args!r}")


class Guarded(np.ndarray):
    """An array that refuses to compute; its operators are ufuncs."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        raise AssertionError(f"NumPy computed: {ufunc.__name__}")

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        raise AssertionError(f"NumPy computed: {function.__name__}")

    def _refuse(self, *args: Any, **options: Any) -> Any:
        raise AssertionError("NumPy computed: a reduction method of an array")

    sum = mean = prod = max = min = argmax = argmin = std = var = cumsum = dot = _refuse  # type: ignore[assignment]
    sort = argsort = take = repeat = round = clip = any = all = _refuse  # type: ignore[assignment]


def trap_numpy() -> None:
    """Replace NumPy's arithmetic by traps, and its constructors by ones that hand out guarded
    arrays.
    """

    def trap(name: str) -> Any:
        def refuse(*args: Any, **options: Any) -> Any:
            raise AssertionError(f"NumPy computed: np.{name}")

        return refuse

    functions = "dot matmul einsum tensordot sum mean prod max min where sort argsort cumsum take"
    functions += " concatenate stack clip std var outer inner repeat tile"
    for name in list(vars(np)):
        if isinstance(getattr(np, name), np.ufunc) or name in functions.split():
            setattr(np, name, trap(name))

    def guard(function: Any) -> Any:
        def make(*args: Any, **options: Any) -> Any:
            result = function(*args, **options)
            return result.view(Guarded) if type(result) is original else result

        return make

    original = np.ndarray
    names = "empty zeros ones full array asarray ascontiguousarray frombuffer arange copy fromiter"
    for name in names.split():
        setattr(np, name, guard(getattr(np, name)))
    np.ctypeslib.as_array = guard(np.ctypeslib.as_array)
    np.ndarray = Guarded  # type: ignore[misc]


def the_traps_work() -> None:
    """Each guard refuses what it should: otherwise this program proves nothing."""
    for attempt in (
        lambda: np.add(1, 2),
        lambda: np.matmul(np.ones((2, 2)), np.ones((2, 2))),
        lambda: np.ones(3) + np.ones(3),
        lambda: 2.0 * np.frombuffer(b"\0" * 8, np.float32),
        lambda: np.asarray([1.0, 2.0]).sum(),
        lambda: np.ndarray((2,), np.float32) < 1,
        lambda: os.system("true"),
    ):
        try:
            attempt()
        except AssertionError:
            continue
        raise SystemExit("a trap does not work")
    try:
        __import__("torch")
    except ImportError:
        return
    raise SystemExit("torch can be imported")


def main() -> None:
    """Guard, train, report."""
    sys.meta_path.insert(0, NoTorch())
    os.environ["PATH"] = "/nonexistent"
    assert all(shutil.which(name) is None for name in ("cc", "gcc", "clang", "c++", "nvcc"))
    assert "TRITON_INTERPRET" not in os.environ

    import tritorch as torch
    from tritorch import nn
    from tritorch.examples.digits import NeuralNetwork

    sys.addaudithook(forbid_processes)
    trap_numpy()
    the_traps_work()

    torch.manual_seed(0)
    model = NeuralNetwork()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    images, labels = torch.rand(32, 1, 8, 8), torch.randint(0, 10, (32,))
    losses = []
    for _ in range(20):
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    with torch.no_grad():
        accuracy = (model(images).argmax(1) == labels).float().mean().item()
    stats = torch.kernels.stats()
    print(
        json.dumps(
            {
                "losses": losses,
                "accuracy": accuracy,
                "launches": stats.launches,
                "generated": stats.generated,
                "launches_by_kernel": dict(stats.launches_by_kernel),
            }
        )
    )


if __name__ == "__main__":
    main()
