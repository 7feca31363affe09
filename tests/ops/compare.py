"""Comparison with the reference: dtype, then shape, then values, by one table of tolerances."""

from __future__ import annotations

from typing import Any

import numpy as np

import tritorch
from tritorch import Tensor

#: (relative, absolute) by dtype; both grow with the root of how many numbers were combined
TOLERANCES = {
    tritorch.float64: (1e-9, 1e-11),
    tritorch.float32: (2e-5, 2e-6),
    tritorch.float16: (2e-3, 2e-4),
    tritorch.bfloat16: (1.6e-2, 2e-3),
}


def check(actual: Tensor, expected: Any, dtype: Any, *, combined: int = 1, what: str = "") -> None:
    """Assert that a tensor is what NumPy says, the expected values being rounded to its dtype."""
    assert actual.dtype is dtype, f"{what}: dtype {actual.dtype}, expected {dtype}"
    expected = np.asarray(expected)
    assert tuple(actual.shape) == expected.shape, (
        f"{what}: shape {tuple(actual.shape)}, expected {expected.shape}"
    )
    values = actual.detach().numpy()
    with np.errstate(all="ignore"):
        rounded = expected.astype(dtype.numpy)
    if not dtype.is_floating_point:
        np.testing.assert_array_equal(values, rounded, err_msg=what)
        return
    relative, absolute = TOLERANCES[dtype]
    scale = max(combined, 1) ** 0.5
    np.testing.assert_allclose(
        values.astype(np.float64),
        rounded.astype(np.float64),
        rtol=relative * scale,
        atol=absolute * scale,
        err_msg=what,
    )
