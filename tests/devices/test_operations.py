"""The table of operations on a device against float64 on the CPU: values and gradients.

`--device cuda` runs all of it on a GPU, `--device simulated` on a simulated one (no cubins), and
without an option a sample runs simulated. The expressions are those of `tests/oracle`; their inputs
are made on the device by making it the default one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tritorch as torch
from tests.oracle.compare import TOLERANCES, difference, outcome, table
from tests.oracle.inputs import Variant

TABLE = table()
#: what `tests/devices` runs where nobody asked for a device
SAMPLE = (
    "add", "where", "sum", "var", "cumsum", "softmax", "matmul", "sort", "topk", "gather",
    "scatter_add", "index_select", "cat", "masked_select", "F.layer_norm", "F.cross_entropy",
    "F.embedding", "F.conv2d", "F.max_pool2d", "F.scaled_dot_product_attention", "F.dropout",
    "nonzero", "tril", "einsum", "copy_", "clone", "flip",
)  # fmt: skip
#: what the device computes in
COMPUTED = (
    Variant("float32", "float32", gradients=1),
    Variant("bfloat16", "bfloat16"),
)
#: expressions whose meaning is the CPU: memory shared with NumPy, the name of the place
ON_THE_HOST = (
    "from_numpy", "frombuffer", "numpy(", "np.", "array", ".cpu()",
    "data_ptr", "device", "type(", "repr(",
)  # fmt: skip
#: refused on CPUs only: on a GPU to look at the probabilities would be to wait for them
UNCHECKED = ("torch.bernoulli(torch.tensor([1.5]))",)


def expressions(name: str) -> list[str]:
    found = [e for e in TABLE[name] if e not in UNCHECKED]
    return [e for e in found if not any(word in e for word in ON_THE_HOST)]


def on_device(expression: str, variant: Variant) -> dict[str, Any]:
    torch.set_default_device("cuda")
    try:
        return outcome(torch, expression, variant)
    finally:
        torch.set_default_device(None)


def doubled(value: Any) -> Any:
    """The same numbers under the name of float64."""
    if isinstance(value, list):
        return [doubled(item) for item in value]
    if isinstance(value, tuple) and "float" in value[0]:
        return ("torch.float64", *value[1:])
    return value


def check(name: str, variant: Variant) -> None:
    exact = Variant("exact", "float64", gradients=variant.gradients, rounded=variant.dtype)
    wrong = []
    for expression in expressions(name):
        reference = outcome(torch, expression, exact)
        found = on_device(expression, variant)
        if "error" in reference:
            if "error" not in found:
                torch.cuda.synchronize()  # a wrong index is told now
                wrong.append(f"{expression}: no error, the CPU says {reference['error']!s:.80}")
            continue
        if "error" in found:
            error = found["error"]
            if "error" in outcome(torch, expression, variant):
                continue  # the dtype is refused
            wrong.append(f"{expression}: {type(error).__name__}: {error!s:.150}")
            continue
        for part in ("value", "first"):
            if part in reference:
                times = 10 if part == "first" else 1
                if part not in found:
                    wrong.append(f"{expression}: no gradient: {found.get('first error')!s:.150}")
                elif difference(doubled(found[part]), reference[part], variant.dtype, times):
                    # Some results belong to a dtype (nextafter, finfo): the CPU's in the same one.
                    same = outcome(torch, expression, variant)[part]
                    again = outcome(torch, expression, variant)[part]
                    if difference(same, again, variant.dtype, times):
                        continue  # random
                    if what := difference(found[part], same, variant.dtype, times):
                        wrong.append(f"{expression}: {part}: {what}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.gpu
@pytest.mark.parametrize("variant", COMPUTED, ids=lambda v: v.name)
@pytest.mark.parametrize("name", sorted(TABLE))
def test_operation(name: str, variant: Variant, device_kind: str) -> None:
    check(name, variant)


@pytest.mark.parametrize("name", SAMPLE)
def test_operation_simulated(name: str, device_kind: str, request: pytest.FixtureRequest) -> None:
    if device_kind == "cuda":
        pytest.skip("the whole table runs on the GPU")
    check(name, COMPUTED[0])


@pytest.mark.gpu
def test_same_seed_same_numbers(device_kind: str) -> None:
    torch.manual_seed(11)
    here = torch.randn(1000, dtype=torch.float64)
    torch.manual_seed(11)
    there = torch.randn(1000, dtype=torch.float64, device="cuda")
    np.testing.assert_allclose(there.cpu().numpy(), here.numpy(), rtol=TOLERANCES["float64"][0])
