"""An optimizer's step with history: the text of its kernel, read as operations on tensors.

An `Update` says once what happens to an element. Its kernel is printed from that text; here the
same text is run on whole tensors, so that a step can be differentiated (`differentiable=True`).
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import tritorch
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels.templates.multi_tensor import Update
from tritorch.kernels.templates.template import Helper
from tritorch.tensor import Tensor


def _language(kind: Dtype) -> SimpleNamespace:
    """What the updates use of the Triton language, on tensors of one dtype."""

    def operand(x: Any) -> Tensor:
        return x if isinstance(x, Tensor) else tritorch.tensor(x, dtype=kind)

    def where(condition: Any, x: Any, y: Any) -> Any:
        if isinstance(condition, bool):  # of scalars
            return x if condition else y
        return tritorch.where(condition, operand(x), operand(y))

    return SimpleNamespace(
        abs=tritorch.abs,
        maximum=lambda x, y: tritorch.maximum(operand(x), operand(y)),
        minimum=lambda x, y: tritorch.minimum(operand(x), operand(y)),
        sqrt=tritorch.sqrt,
        where=where,
    )


class _OutOfPlace(ast.NodeTransformer):
    """`x += y` as `x = x + y`: in a kernel neither writes to a tensor."""

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.Assign:
        """The assignment."""
        assert isinstance(node.target, ast.Name)
        read = ast.Name(node.target.id, ast.Load())
        return ast.Assign([node.target], ast.BinOp(read, node.op, node.value))


def _tree(helper: Helper) -> ast.stmt:
    tree = ast.parse(textwrap.dedent(inspect.getsource(helper.function)))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.decorator_list = []
    for parameter in (*function.args.args, *function.args.kwonlyargs):
        parameter.annotation = None
    return ast.fix_missing_locations(_OutOfPlace().visit(function))


@cache
def on_tensors(update: Update, kind: Dtype) -> Callable[..., Any]:
    """What the update does, as a function of whole tensors of one dtype."""
    module = ast.Module([_tree(helper) for helper in (*update.helpers, update)], [])
    names: dict[str, Any] = {"tl": _language(kind)}
    exec(compile(module, f"<{update.name} on tensors>", "exec"), names)
    found: Callable[..., Any] = names[update.name]
    return found


def step(
    update: Update,
    columns: Sequence[Sequence[Tensor]],
    scalars: Sequence[Any],
    flags: Mapping[str, bool],
) -> None:
    """`update` on every tensor of the columns, recorded; those it writes are changed in place."""
    chosen = [flags[name] for name in update.flags]
    for row in zip(*columns, strict=True):
        kind = row[0].dtype
        computes = tritorch.float64 if kind is tritorch.float64 else tritorch.float32
        # Copies: what is read is saved for the backward pass, and the columns are written to.
        values = [tensor.clone().to(computes) for tensor in row]
        results = on_tensors(update, computes)(*values, *scalars, *chosen)
        if len(update.writes) == 1:
            results = (results,)
        for name, result in zip(update.writes, results, strict=True):
            row[update.columns.index(name)].copy_(result)
