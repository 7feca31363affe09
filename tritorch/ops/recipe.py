"""How the gradient of a pointwise operation is computed: one fused kernel, again a pointwise
operation.

Here are the trees of gradients; `tritorch.ops.pointwise` makes operations and nodes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

from tritorch.kernels.derivative import gradient
from tritorch.kernels.expression import (
    Expr,
    constant,
    input_names,
    lift,
    rebuild,
    topological,
    variable,
)

Override = Callable[..., Any]


def upstream_names(count: int) -> tuple[str, ...]:
    """Names of the upstream gradients of an operation with so many outputs."""
    return ("upstream",) if count == 1 else tuple(f"upstream{i}" for i in range(count))


def result_names(count: int) -> tuple[str, ...]:
    """Names under which gradients refer to the outputs."""
    return ("result",) if count == 1 else tuple(f"result{i}" for i in range(count))


def as_operands(names: Sequence[str], trees: Sequence[Expr]) -> tuple[list[str], list[Expr]]:
    """The names and trees with no operand called as an upstream gradient or a result.

    A gradient is an operation whose operands are the upstream gradients, saved inputs and results
    of
    the one it belongs to; its own gradient speaks of other upstream gradients and results.
    """
    fresh = list(names)
    changed = list(trees)
    for position, name in enumerate(names):
        if not name.startswith(("upstream", "result")):
            continue
        other = "given_" + name
        while other in fresh:
            other = "given_" + other
        fresh[position] = other
        changed = [replace(tree, variable(name), variable(other)) for tree in changed]
    return fresh, changed


def gradient_trees(
    inputs: Sequence[str],
    outputs: Sequence[Expr],
    wanted: Sequence[str],
    present: Sequence[bool],
    override: Override | None,
    results: bool = True,
) -> list[Expr]:
    """A tree per wanted input, over upstream gradients, inputs and results.

    Args:
        inputs: names of all operands, numbers included.
        outputs: trees of the operation.
        wanted: names of the inputs that want a gradient.
        present: which outputs have an upstream gradient; the others count as zero.
        override: the declared gradient instead of the derived one. Its parameters are named `g`,
            `result` or as inputs; it returns a tree, or a tuple with one per input.
        results: whether the trees may refer to results.
    """
    upstreams = [variable(name) for name in upstream_names(len(outputs))]
    if override is not None and (results or not _reads_results(override)):
        known = {name: variable(name) for name in (*inputs, *result_names(len(outputs)))}
        known["g"] = upstreams[0]
        trees = override(*(known[name] for name in signature(override).parameters))
        trees = trees if isinstance(trees, tuple) else (trees,)
        chosen = [trees[inputs.index(name)] for name in wanted]
    else:
        used = [i for i, there in enumerate(present) if there]
        chosen = list(
            gradient(
                [outputs[i] for i in used],
                [upstreams[i] for i in used],
                [variable(name) for name in wanted],
            )
        )
        if results and len(wanted) == len(outputs) == len(input_names(outputs)) == 1:
            chosen = [_through_result(chosen[0], outputs[0], wanted[0])]
    return [constant(0.0) if tree is None else lift(tree) for tree in chosen]


def _reads_results(override: Override) -> bool:
    return any(name.startswith("result") for name in signature(override).parameters)


def _through_result(tree: Expr | None, output: Expr, name: str) -> Expr | None:
    """The tree in terms of the result, if that makes the input superfluous, as for exp and tanh."""
    if tree is None or not output.args:
        return tree
    replaced = replace(tree, output, variable("result"))
    return tree if name in input_names([replaced]) else replaced


def replace(root: Expr, old: Expr, new: Expr) -> Expr:
    """The tree with every occurrence of one node replaced by another."""
    done: dict[int, Expr] = {}
    for node in topological([root]):
        if node is old:
            done[id(node)] = new
        elif node.args:
            done[id(node)] = rebuild(node, [done[id(argument)] for argument in node.args])
        else:
            done[id(node)] = node
    return done[id(root)]
