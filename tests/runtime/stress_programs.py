"""Small programs on tensors with NumPy's answer: what the stress tests launch at random.

Each makes its inputs from a seed and a size. The library's answer must be near NumPy's, and the
same to the bit whenever and on however many threads it is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import tritorch as torch

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Program:
    name: str
    inputs: Callable[[np.random.Generator, int], Arrays]
    #: of tensors
    run: Callable[..., torch.Tensor]
    #: of arrays in float64, or None where only the bits of one run are compared with another's
    reference: Callable[..., np.ndarray] | None
    tolerance: float = 1e-5


def _vector(rng: np.random.Generator, n: int) -> Arrays:
    return (rng.standard_normal(n).astype(np.float32),)


def _two(rng: np.random.Generator, n: int) -> Arrays:
    return _vector(rng, n) + _vector(rng, n)


def _rows(rng: np.random.Generator, n: int) -> Arrays:
    columns = 1 + n % 300
    return (rng.standard_normal((max(1, n // columns), columns)).astype(np.float32),)


def _matrices(rng: np.random.Generator, n: int) -> Arrays:
    m, k, p = 1 + n % 130, 1 + n % 70, 1 + n % 90
    return (
        rng.standard_normal((m, k)).astype(np.float32),
        rng.standard_normal((k, p)).astype(np.float32),
    )


def _scattered(rng: np.random.Generator, n: int) -> Arrays:
    return (*_vector(rng, n), rng.integers(0, 50, n))


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _histogram(x: np.ndarray, i: np.ndarray) -> np.ndarray:
    out = np.zeros(50)
    np.add.at(out, i.astype(np.int64), x)
    return out


def _gradient(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x = x.requires_grad_()
    (torch.tanh(x * y) * x).sum().backward()
    assert x.grad is not None
    return x.grad


def _gradient_reference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    t = np.tanh(x * y)
    return t + x * y * (1 - t * t)


PROGRAMS = [
    Program("add", _two, lambda x, y: x + y * 2, lambda x, y: x + y * 2),
    Program("gelu chain", _vector, lambda x: torch.nn.functional.gelu(x).exp() - 1, None),
    Program("sum", _vector, lambda x: x.sum(), lambda x: x.sum(), 1e-4),
    Program("rows", _rows, lambda x: x.sum(1), lambda x: x.sum(1), 1e-4),
    Program("columns", _rows, lambda x: x.sum(0), lambda x: x.sum(0), 1e-4),
    Program("largest", _rows, lambda x: x.max(1)[0], lambda x: x.max(1)),
    Program("softmax", _rows, lambda x: torch.softmax(x, 1), _softmax),
    Program("var", _rows, lambda x: x.var(1, unbiased=False), lambda x: x.var(1), 1e-4),
    Program("matmul", _matrices, lambda x, y: x @ y, lambda x, y: x @ y, 1e-4),
    Program("transpose", _rows, lambda x: x.t().contiguous(), lambda x: x.T),
    Program("cumsum", _rows, lambda x: x.cumsum(1), lambda x: x.cumsum(1), 1e-4),
    Program("sort", _rows, lambda x: x.sort(1)[0], lambda x: np.sort(x, 1)),
    Program(
        "index_add",
        _scattered,
        lambda x, i: torch.zeros(50).index_add(0, i, x),
        _histogram,
        1e-4,
    ),
    Program("gather", _scattered, lambda x, i: x[: len(i)][i % len(i)], None),
    Program("where", _two, lambda x, y: torch.where(x > y, x, -y), None),
    Program("gradient", _two, _gradient, _gradient_reference, 1e-4),
    Program("in place", _two, lambda x, y: x.clone().add_(y).mul_(x), lambda x, y: (x + y) * x),
    Program("double", _vector, lambda x: x.double().exp().float(), lambda x: np.exp(x)),
    Program("whole numbers", _vector, lambda x: (x * 100).int() // 7, None),
    Program("concatenation", _two, lambda x, y: torch.cat([x, y, x]), None),
]


def answer(program: Program, seed: int, size: int) -> bytes:
    """Run it; the bytes of what came out. Raises AssertionError where it is not NumPy's answer."""
    arrays = program.inputs(np.random.default_rng(seed), size)
    found = program.run(*(torch.from_numpy(array.copy()) for array in arrays))
    result = found.detach().numpy()
    if program.reference is not None:
        want = program.reference(*(array.astype(np.float64) for array in arrays))
        assert result.shape == np.shape(want), (program.name, result.shape, np.shape(want))
        error = np.abs(result - want) / (1 + np.abs(want))
        assert error.size == 0 or error.max() <= program.tolerance, (
            f"{program.name} of {size}, seed {seed}: off by {error.max():.3g}"
        )
    return bytes(np.ascontiguousarray(result).tobytes())
