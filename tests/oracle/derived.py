"""The other ways to call what an expression calls: the method, in place, with `out=`.

Which of them exist PyTorch decides: what it refuses is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

#: what draws random numbers where the function does not
LEFT_OUT = ("bernoulli_",)


def _call(expression: str) -> tuple[str, str, list[str]] | None:
    """(name of the function with its modules, first argument, other arguments)."""
    tree = ast.parse(expression.strip(), mode="eval").body
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Attribute):
        return None
    arguments = [ast.unparse(a) for a in tree.args]
    options = [f"{k.arg}={ast.unparse(k.value)}" for k in tree.keywords]
    owner = ast.unparse(tree.func.value)
    if owner in ("torch", "torch.linalg", "torch.special"):
        if not arguments or isinstance(tree.args[0], ast.Constant):
            return None
        return f"{owner}.{tree.func.attr}", arguments[0], arguments[1:] + options
    if owner.startswith(("torch", "F")) or tree.func.attr.endswith("_"):
        return None
    return f"torch.{tree.func.attr}", owner, arguments + options


def variants(expression: str) -> list[str]:
    """Method, in place, and with `out=`, as expressions."""
    found = _call(expression)
    if found is None:
        return []
    function, first, others = found
    name = function.rsplit(".", 1)[-1]
    rest = ", ".join(others)
    made = [f"out({', '.join([function, first, *others])})"]
    if function == f"torch.{name}" and not name.startswith("_"):
        made.append(f"({first}).{name}({rest})")
        if f"{name}_" not in LEFT_OUT:
            made.append(f"({first}).clone().{name}_({rest})")
    return made


def derived(expressions: Iterable[str], limit: int = 2) -> list[str]:
    """The variants of the first expressions of a name that call something."""
    given = list(expressions)
    known = {e.replace("(", "").replace(")", "") for e in given}
    made: list[str] = []
    used = 0
    for expression in given:
        new = [e for e in variants(expression) if e not in made]
        made += [e for e in new if e.replace("(", "").replace(")", "") not in known]
        used += bool(new)
        if used == limit:
            break
    return made
