"""Runs one of the short programs with a library, and says what it printed or raised."""

from __future__ import annotations

import ast
import copy
import pickle
import warnings
from typing import Any

import numpy as np

from tests.tensor.programs import PRELUDE


def outcome(torch: Any, program: str) -> dict[str, Any]:
    """`values`: the reprs of the last expression (of each item, for a tuple); or `error`: the
    names of
    the exception's class and its bases.
    """
    scope: dict[str, Any] = {"torch": torch, "np": np, "copy": copy, "pickle": pickle}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(PRELUDE, scope)
        try:
            tree = ast.parse(program)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, program, "exec"), scope)
            if last is None:
                return {"values": []}
            value = eval(compile(ast.Expression(last.value), program, "eval"), scope)
            items = value if type(value) is tuple else (value,)
            return {"values": [repr(item) for item in items]}
        except Exception as error:
            names = [kind.__name__ for kind in type(error).__mro__]
            return {"error": names, "message": str(error)}
