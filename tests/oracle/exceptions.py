"""Where the results differ on purpose: what PyTorch gives is wrong, and why.

A sample that is listed here and agrees is a failure too: it is to be taken off the list.
"""

from __future__ import annotations

from tests.oracle.inputs import Variant

#: (expression, variants) -> why; variants are parts of names of `tests.oracle.inputs.VARIANTS`
EXCEPTIONS: dict[tuple[str, tuple[str, ...]], str] = {}


def reason(expression: str, variant: Variant) -> str:
    """Why a sample is allowed to differ; empty if it is not."""
    for (text, variants), why in EXCEPTIONS.items():
        if text == expression and variant.name in variants:
            return why
    return ""
