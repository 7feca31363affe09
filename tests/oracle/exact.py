"""What PyTorch approximates worse than the tolerance, to its last digit, by mpmath.

A difference from PyTorch passes there if we agree with mpmath, within the same tolerance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

#: function of `torch.special` -> that of mpmath.
#: airy_ai: PyTorch's is off by up to 2.8e-6 below -2.09, ours by less than 1e-14 down to -30.
EXACT = {"airy_ai": "airyai"}


def exact_names(expression: str) -> list[str]:
    """The functions in an expression that are compared with mpmath where PyTorch differs."""
    return [name for name in EXACT if re.search(rf"special\.{name}\b", expression)]


@contextmanager
def exactly(torch: Any, names: list[str]) -> Iterator[None]:
    """Within, these functions of PyTorch give what mpmath gives; nan where x is not finite."""
    import mpmath

    def by_mpmath(name: str) -> Any:
        def function(x: Any, out: Any = None) -> Any:
            with mpmath.workdps(60):
                found = [
                    float(getattr(mpmath, EXACT[name])(v)) if mpmath.isfinite(v) else float("nan")
                    for v in map(mpmath.mpf, x.detach().double().reshape(-1).tolist())
                ]
            kind = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
            result = torch.tensor(found, dtype=torch.float64).reshape(x.shape).to(kind)
            return result if out is None else out.resize_(x.shape).copy_(result)

        return function

    with patch.multiple(torch.special, **{name: by_mpmath(name) for name in names}):
        yield
