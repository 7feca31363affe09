"""How many samples of the cross-check call each operation."""

from __future__ import annotations

import re
from collections import Counter

from tests.oracle.compare import table, variants_of

_CALL = re.compile(r"(?:\b(torch\.linalg|torch\.special|torch|F))?\.([A-Za-z]\w*)\(")
_PREFIX = {"torch.linalg": "linalg.", "torch.special": "special.", "F": "nn.functional."}


def samples() -> dict[str, int]:
    """Samples by the name that `tritorch.ops.table` uses; what is called on a value is a method."""
    found: Counter[str] = Counter()
    for name, expressions in table().items():
        for expression in expressions:
            times = len(variants_of(name, expression))
            for place, called in set(_CALL.findall(expression)):
                if place:
                    found[_PREFIX.get(place, "") + called] += times
                else:
                    found[f"Tensor.{called}"] += times
    return dict(found)
