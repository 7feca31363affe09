"""Every declared operation under vmap, against a loop over the samples; none lacks a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.func.comparing import close
from tritorch.func import dispatch, vmap
from tritorch.ops.declare import OPS, OpInfo

SAMPLES = 3

#: declared operations that run in a loop for want of a rule
LOOPS: frozenset[str] = frozenset()

#: views need arguments of their own
VIEWS: dict[str, Callable[[Any], Any]] = {
    "view": lambda x: x.view(5, 1, 7),
    "reshape": lambda x: x.reshape(-1),
    "flatten": lambda x: x.flatten(),
    "unflatten": lambda x: x.unflatten(0, (5, 1)),
    "transpose": lambda x: x.transpose(-1, 0),
    "t": lambda x: x.t(),
    "permute": lambda x: x.permute(1, 0),
    "movedim": lambda x: x.movedim(-1, 0),
    "squeeze": lambda x: x[:1].squeeze(0),
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "expand": lambda x: x.expand(2, 5, 7),
    "select": lambda x: x.select(1, -2),
    "narrow": lambda x: x.narrow(0, 1, 2),
    "split": lambda x: x.split(3, 1),
    "chunk": lambda x: x.chunk(2),
    "unbind": lambda x: x.unbind(1),
    "diagonal": lambda x: x.diagonal(1),
}


def case(op: OpInfo, number: int) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of one sample; whole numbers (indices) are the same for all."""
    random = np.random.default_rng(number)
    if op.kind == "view":
        return [random.uniform(-3, 3, (5, 7))], {}
    if op.cases:
        arguments, options = op.cases[0](
            lambda *shape, low=-1.0, high=1.0: random.uniform(low, high, shape)
        )
        return list(arguments), dict(options)
    integral = op.promote == "integral"
    values: list[Any] = [
        random.integers(1, 3, (5, 7)) if integral else random.uniform(op.low, op.high, (5, 7))
        for _ in range(op.operands)
    ]
    if op.promote == "select":
        values[0] = values[0] > 0
    if op.function.__name__ == "masked_fill":
        values[1] = values[1] > 0
    options = dict(op.calls[0])
    if op.kind in ("scan", "rows") or op.function.__name__ == "logsumexp":
        options["dim"] = 1
    if op.kind == "pointwise":
        numbers = op.operation.parameters
        options |= {n: kind(1) for n, (kind, default) in numbers.items() if not default}
    return values, options


def results(value: Any) -> list[torch.Tensor]:
    return [value] if isinstance(value, torch.Tensor) else list(value)


@pytest.mark.parametrize("op", OPS, ids=str)
def test_operation(op: OpInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples in front, and behind (in the second place of what is two-dimensional)."""
    monkeypatch.setattr(dispatch, "_warned", set(LOOPS))
    rows = [case(op, k) for k in range(SAMPLES)]
    _, options = rows[0]
    places = [i for i, value in enumerate(rows[0][0]) if isinstance(value, np.ndarray)]
    function = VIEWS.get(op.name) if op.kind == "view" else op.function
    assert function is not None

    def run(*tensors: torch.Tensor) -> list[torch.Tensor]:
        arguments = list(rows[0][0])
        for place, tensor in zip(places, tensors):
            arguments[place] = tensor
        return results(function(*arguments, **options))

    expected = [run(*(torch.tensor(row[0][i]) for i in places)) for row in rows]
    for dim in (0, 1, -1):
        stacked, dims = [], []
        for i in places:
            values = [torch.tensor(row[0][i]) for row in rows]
            own = min(dim, values[0].ndim) if dim >= 0 else values[0].ndim
            stacked.append(torch.stack(values, own))
            dims.append(own)
        found = vmap(run, in_dims=tuple(dims))(*stacked)
        assert len(found) == len(expected[0])
        for k, each in enumerate(expected):
            close([part[k] for part in found], each, 1e-6)
    assert dispatch._warned == LOOPS
