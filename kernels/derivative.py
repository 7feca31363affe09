"""Symbolic derivatives of expression trees, of any order: the derivative is a tree again.

Tangents are carried from one input to the outputs (forward mode), seeded with the upstream
gradient, which is valid because a pointwise function's Jacobian is diagonal. So `where` chooses
after its branches were differentiated, and a branch that is not taken leaks neither nan nor inf;
equal parts are shared by hash-consing.
"""

from __future__ import annotations

from collections.abc import Sequence

from tritorch.kernels.expression import PRIMITIVES, Expr, Number, apply, constant, lift, topological

Tangent = Expr | None


def derivative(output: Expr, x: Expr, upstream: Expr | Number = 1) -> Tangent:
    """upstream * d(output)/dx; None where that is zero for every value of the inputs.

    Args:
        output: the tree to differentiate.
        x: one of its inputs (or any node of it, taken as independent).
        upstream: gradient of the output.
    """
    return _tangents([output], x, [lift(upstream)])[0]


def gradient(
    outputs: Sequence[Expr], upstreams: Sequence[Expr], inputs: Sequence[Expr]
) -> tuple[Tangent, ...]:
    """Per input the sum over outputs of upstream * d(output)/d(input); None where structurally
    zero.
    """
    result = []
    for x in inputs:
        total: Tangent = None
        for part in _tangents(outputs, x, upstreams):
            if part is not None:
                total = part if total is None else total + part
        result.append(total)
    return tuple(result)


def _tangents(outputs: Sequence[Expr], x: Expr, seeds: Sequence[Expr]) -> list[Tangent]:
    found: list[Tangent] = []
    for output, seed in zip(outputs, seeds, strict=True):
        tangents: dict[int, Tangent] = {id(x): seed}
        for node in topological([output]):
            if id(node) not in tangents:
                tangents[id(node)] = _node_tangent(node, [tangents[id(a)] for a in node.args])
        found.append(tangents.get(id(output)))
    return found


def _node_tangent(node: Expr, tangents: list[Tangent]) -> Tangent:
    if all(t is None for t in tangents):
        return None
    if node.op == "cast":
        return tangents[0] if node.value.is_floating_point else None
    primitive = PRIMITIVES[node.op]
    if primitive.kind == "bool":
        return None
    if primitive.tangent is not None:
        return primitive.tangent(node, node.args, tuple(tangents))
    total: Tangent = None
    for tangent, partial in zip(tangents, primitive.partials or ()):
        if tangent is None or partial is None:
            continue
        slope = lift(partial(node, *node.args))
        if slope.op == "constant" and slope.value == 0:
            continue
        part = apply("mul", tangent, slope)
        total = part if total is None else total + part
    return total


def zero_or(tangent: Tangent) -> Expr:
    """The tangent as a tree: the constant 0.0 for None."""
    return constant(0.0) if tangent is None else tangent
