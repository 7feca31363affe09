"""What users get wrong: PyTorch's exception types, with messages that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tritorch as torch
from tritorch.ops.declare import OPS


def twice_backward() -> None:
    x = torch.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()


def non_scalar_backward() -> None:
    (torch.ones(2, requires_grad=True) * 2).backward()


def no_graph_backward() -> None:
    torch.ones(()).backward()


def inplace_on_leaf() -> None:
    torch.ones(2, requires_grad=True).add_(1)


def changed_after_saving() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x * 1.0
    z = y * y
    y.add_(1)
    z.sum().backward()


def integer_gradient() -> None:
    torch.ones(2, dtype=torch.int64, requires_grad=True)


CASES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "shapes that do not broadcast": (
        lambda: torch.ones(3, 4) + torch.ones(5),
        RuntimeError,
        r"add: cannot broadcast \(3, 4\) with \(5,\).*4 and 5.*reshape",
    ),
    "matmul shapes": (
        lambda: torch.ones(2, 3) @ torch.ones(4, 5),
        RuntimeError,
        r"2.*3.*4.*5",
    ),
    "view of another size": (lambda: torch.ones(6).view(4, 2), RuntimeError, r"shape.*6"),
    "dimension out of range": (lambda: torch.ones(2).sum(3), IndexError, r"out of range.*got 3"),
    "index out of range": (lambda: torch.ones(2)[2], IndexError, r"2.*out of (range|bounds)"),
    "too many indices": (lambda: torch.ones(2)[0, 0], IndexError, r"too many indices"),
    "float indices": (
        lambda: torch.ones(2)[torch.ones(1)],
        IndexError,
        r"(?i)must be long, int|integer|indices",
    ),
    "mean of integers": (
        lambda: torch.ones(2, dtype=torch.int64).mean(),
        RuntimeError,
        r"(?i)mean.*(floating|dtype)",
    ),
    "bitwise of floats": (lambda: torch.ones(2) & torch.ones(2), RuntimeError, r"(?i)float|dtype"),
    "matmul of two dtypes": (
        lambda: torch.ones(2, 2) @ torch.ones(2, 2, dtype=torch.float64),
        RuntimeError,
        r"(?i)dtype",
    ),
    "absent device": (lambda: torch.ones(1, device="cuda"), RuntimeError, r"(?i)cuda"),
    "unknown device": (lambda: torch.device("tpu"), RuntimeError, r"expected one of cpu, cuda"),
    "backward twice": (twice_backward, RuntimeError, r"second time.*retain_graph=True"),
    "backward of a non-scalar": (
        non_scalar_backward,
        RuntimeError,
        r"grad can be implicitly created only for scalar outputs",
    ),
    "backward without a graph": (no_graph_backward, RuntimeError, r"does not require grad"),
    "in-place on a leaf": (
        inplace_on_leaf,
        RuntimeError,
        r"leaf Variable that requires grad is being used in an in-place operation",
    ),
    "saved tensor changed": (
        changed_after_saving,
        RuntimeError,
        r"modified by an inplace operation: \[torch\.FloatTensor \[2\]\].*is at version 1",
    ),
    "gradient of integers": (integer_gradient, RuntimeError, r"(?i)only.*floating point"),
    "truth of several": (lambda: bool(torch.ones(2)), RuntimeError, r"(?i)ambiguous"),
    "item of several": (
        lambda: torch.ones(2).item(),
        RuntimeError,
        r"(?i)cannot be converted|one element",
    ),
    "ragged data": (lambda: torch.tensor([[1, 2], [3]]), ValueError, r"length|sequence|dim"),
    "a word for a number": (
        lambda: torch.full((2,), "a"),  # type: ignore[arg-type]
        TypeError,
        r"full\(\): must be real number.*size=\[2\], fill_value='a'.*help of full",
    ),
    "a fraction for a size": (lambda: torch.zeros(2.5), TypeError, r"zeros\(\): .*size=\[2\.5\]"),
    "what an operation calls, says it once": (
        lambda: torch.block_diag(torch.ones(2, 2, 2)),
        ValueError,
        r"^block_diag\(\): [^:]*It was given tensors=\[Tensor of shape \[2, 2, 2\]\]",
    ),
    "roll out of range": (lambda: torch.ones(2).roll(1, 3), IndexError, r"roll: .*got 3"),
    "whole numbers where fractions count": (
        lambda: torch.hypot(torch.tensor([3]), torch.tensor([4])),
        RuntimeError,
        r"hypot: only for floating-point tensors, got torch.int64.*float\(\)",
    ),
    "truth values where numbers count": (
        lambda: torch.tensor([True]) // torch.tensor([True]),
        RuntimeError,
        r"floor_divide: not defined for torch.bool.*int\(\)",
    ),
    "unknown data": (lambda: torch.tensor("a"), TypeError, r"str"),
    "numpy of a tensor with history": (
        lambda: torch.ones(2, requires_grad=True).numpy(),
        RuntimeError,
        r"requires grad.*detach",
    ),
    "cat of other sizes": (
        lambda: torch.cat([torch.ones(2, 2), torch.ones(3, 3)]),
        RuntimeError,
        r"(?i)size.*2.*3|size.*3.*2",
    ),
    "class index out of range": (
        lambda: torch.nn.functional.cross_entropy(torch.ones(2, 3), torch.tensor([0, 3])),
        IndexError,
        r"(?i)target 3 is out of bounds|out of range",
    ),
    "embedding index out of range": (
        lambda: torch.nn.functional.embedding(torch.tensor([5]), torch.ones(3, 2)),
        IndexError,
        r"(?i)index out of range|out of bounds",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_error(name: str) -> None:
    """The type, and a message with the values."""
    attempt, kind, pattern = CASES[name]
    with pytest.raises(kind, match=f"(?s){pattern}") as caught:
        attempt()
    assert len(str(caught.value)) > 20


def test_nothing_is_half_done_after_an_error() -> None:
    """An in-place operation that fails leaves value and version alone."""
    x = torch.zeros(3)
    version = x._version
    with pytest.raises(RuntimeError):
        x.add_(torch.ones(2))
    assert x.tolist() == [0.0, 0.0, 0.0] and x._version == version
    (x + 1).sum().item()


@pytest.mark.parametrize("kind", [torch.uint64, torch.float8_e4m3fn])
def test_dtypes_that_few_operations_take(kind: torch.dtype) -> None:
    """A dtype that a kernel cannot be made for is the operands' error, not the compiler's."""
    from tritorch.errors import CompileError

    refused = 0
    for op in OPS:
        if op.kind != "pointwise":
            continue
        try:
            op.function(*[torch.ones(4).to(kind)] * op.operands)
        except CompileError as error:
            raise AssertionError(f"{op.name} of {kind}: {error}") from error
        except (RuntimeError, TypeError):
            refused += 1
    assert refused
