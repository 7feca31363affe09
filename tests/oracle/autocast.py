"""`python -m tests.oracle.autocast [k/n] [NAME ...]`: every operation under autocast.

Dtypes and values of the expressions of the oracle's tables, on float32 inputs, within
`autocast("cpu", bfloat16)` on both libraries; with k/n every n-th name, from the k-th.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from tests.oracle.compare import WORD, difference, plain, table
from tests.oracle.inputs import Variant, namespace

SINGLE = Variant("float32", "float32")


def outcome(torch: Any, expression: str, kind: str) -> Any:
    """The plain result, or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = namespace(torch, set(WORD.findall(expression)), SINGLE)
        try:
            with torch.autocast("cpu", getattr(torch, kind)):
                return plain(eval(expression, names))
        except Exception as error:
            return error


def verdict(ours: Any, torch: Any, expression: str, kind: str) -> str | None:
    """What differs; None where nothing does, or PyTorch refuses."""
    theirs = outcome(torch, expression, kind)
    if isinstance(theirs, Exception):
        return None
    found = outcome(ours, expression, kind)
    if isinstance(found, Exception):
        return f"{type(found).__name__}: {found!s:.150}"
    return difference(found, theirs, "bfloat16")


def main() -> None:
    """Print what fails, and how much does not."""
    import torch

    import tritorch

    wanted = sys.argv[1:]
    tried = passed = 0
    part, parts = map(int, wanted.pop(0).split("/")) if wanted[:1] and "/" in wanted[0] else (1, 1)
    for number, (name, expressions) in enumerate(table().items()):
        if number % parts != part - 1 or (wanted and not any(word in name for word in wanted)):
            continue
        for expression in expressions:
            tried += 1
            wrong = verdict(tritorch, torch, expression, "bfloat16")
            passed += wrong is None
            if wrong:
                print(f"{expression}: {wrong}", flush=True)
    print(f"autocast: {passed} of {tried} agree")


if __name__ == "__main__":
    main()
