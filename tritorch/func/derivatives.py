"""Derivatives as functions of functions: `grad`, `vjp`, `jvp`, `jacrev`, `jacfwd`, `hessian`.

A derivative is taken by reverse mode on a part of the graph of its own: its inputs are fresh places
in the graph, tied to where the given tensors came from. So derivatives nest, and a tensor outside
that requires a gradient still gets one through them. Inside `vmap` inputs are shown once for each
sample first, so that each sample gets a gradient of its own.

Forward mode is reverse mode twice: v ↦ J v is the transpose of the linear map u ↦ uᵀ J, so `jvp`,
`jacfwd` and `linearize` work for everything that is differentiable twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tritorch.func.levels import hidden, shown
from tritorch.func.mapping import vmap
from tritorch.func.pullback import Function, Pullback, Pushforward
from tritorch.func.trees import Structure, flatten, unflatten
from tritorch.ops import creation, views
from tritorch.tensor import Tensor

Argnums = int | tuple[int, ...]


# ---- gradients of functions that return a number


def _chosen(args: tuple[Any, ...], argnums: Argnums, name: str) -> tuple[list[Tensor], Structure]:
    """The tensors to differentiate by, and how they make up the chosen arguments."""
    if not isinstance(argnums, (int, tuple)) or isinstance(argnums, bool):
        raise RuntimeError(
            f"{name}: argnums must be int or Tuple[int, ...], got {type(argnums).__name__}."
        )
    several = isinstance(argnums, tuple)
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    if not numbers:
        raise RuntimeError(f"{name}: argnums is an empty tuple. Name at least one argument.")
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise RuntimeError(
                f"{name}: Got argnum={number}, but only {len(args)} positional inputs"
            )
    if len({number % len(args) for number in numbers}) != len(numbers):
        raise RuntimeError(f"{name}: argnums elements must be unique, got {argnums}.")
    picked = tuple(args[number] for number in numbers)
    leaves, structure = flatten(picked if several else picked[0])
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(
                f"{name}: only tensors can be differentiated by, got {type(leaf).__name__} in "
                f"argument {argnums}. Choose others with argnums."
            )
    return leaves, structure


def _of_chosen(
    func: Function, args: tuple[Any, ...], options: dict[str, Any], argnums: Argnums,
    structure: Structure,
) -> Function:  # fmt: skip
    """The function of the chosen tensors alone."""

    def call(*tensors: Tensor) -> Any:
        rebuilt = unflatten(tensors, structure)
        given = list(args)
        if isinstance(argnums, tuple):
            for number, value in zip(argnums, rebuilt):
                given[number] = value
        else:
            given[argnums] = rebuilt
        return func(*given, **options)

    return call


def grad_and_value(
    func: Function, argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the gradient of `func` and its value.

    Args:
        func: returns a tensor of one element and no dimensions (with `has_aux`, and more).
        argnums: the argument to differentiate by, or several; each may be a nested container.
        has_aux: `func` returns (value, anything); the result is then (gradient, (value, anything)).

    Raises:
        RuntimeError: the value is no scalar tensor, or an argument has no gradient.
    """

    @functools.wraps(func)
    def wrapped(*args: Any, **options: Any) -> Any:
        leaves, structure = _chosen(args, argnums, "grad")
        pull = Pullback(
            _of_chosen(func, args, options, argnums, structure),
            leaves, has_aux, _check_scalar, "grad_and_value",
        )  # fmt: skip
        (output,) = pull.outputs
        found = pull([creation.ones_like(output)], retain=pull.leads_out)
        gradient = unflatten([hidden(g, pull.levels) for g in found], structure)
        if has_aux:
            return gradient, (pull.result, pull.aux)
        return gradient, pull.result

    return wrapped


def _check_scalar(output: Any) -> None:
    if not isinstance(output, Tensor):
        raise RuntimeError(
            "grad_and_value(f)(*args): Expected f(*args) to return a tensor, got type "
            f"{type(output)}"
        )
    if output._layout.ndim:
        raise RuntimeError(
            "grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got tensor "
            f"with {output._layout.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs "
            "instead?"
        )


def value_and_grad(
    func: Function, argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """As `grad_and_value`, the value first: JAX's order."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapped(*args: Any, **options: Any) -> Any:
        gradient, value = both(*args, **options)
        return value, gradient

    return wrapped


def grad(func: Function, argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of `func`.

    A `no_grad` inside `func` counts; one around the call does not, but then the result has no
    history. With `vmap` around it: gradients of each sample.

    Args:
        func: returns a tensor of one element and no dimensions (with `has_aux`, and more).
        argnums: the argument to differentiate by, or several; each may be a nested container.
        has_aux: `func` returns (value, anything); the result is then (gradient, anything).

    Example:
        >>> import tritorch
        >>> from tritorch.func import grad
        >>> cube = lambda x: x**3
        >>> grad(grad(cube))(tritorch.tensor(2.0))
        tensor(12.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapped(*args: Any, **options: Any) -> Any:
        gradient, value = both(*args, **options)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


# ---- vector-Jacobian and Jacobian-vector products


def _all_tensors(trees: Any, name: str) -> tuple[list[Tensor], Structure]:
    leaves, structure = flatten(trees)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(
                f"{name}: Expected all inputs to be tensors, got {type(leaf).__name__}. Close over "
                "other values with a lambda."
            )
    return leaves, structure


def vjp(func: Function, *primals: Any, has_aux: bool = False) -> Any:
    """The value of `func` at `primals`, and the function u ↦ uᵀ J of vectors like the outputs.

    Args:
        func: takes and returns tensors, or nested containers of them.
        has_aux: `func` returns (outputs, anything).

    Returns:
        (outputs, vjp_fn), with `has_aux` (outputs, vjp_fn, anything). `vjp_fn` takes vectors as the
        outputs are, and returns a tuple with a gradient for each of `primals`.
    """
    leaves, structure = _all_tensors(primals, "vjp(f, *primals)")
    pull = Pullback(lambda *xs: func(*unflatten(xs, structure)), leaves, has_aux)

    def vjp_fn(
        *cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None
    ) -> Any:
        if len(cotangents) != 1:
            given: Any = cotangents
        else:
            given = cotangents[0]
        vectors = _matched(given, pull)
        found = pull(vectors, retain=retain_graph, create=create_graph)
        return unflatten([hidden(g, pull.levels) for g in found], structure)

    if has_aux:
        return pull.result, vjp_fn, pull.aux
    return pull.result, vjp_fn


def _matched(given: Any, pull: Pullback) -> list[Tensor]:
    vectors = flatten(given)[0]
    if len(vectors) != len(pull.outputs):
        raise RuntimeError(
            f"vjp_fn: Expected {len(pull.outputs)} vectors, one for each output, got "
            f"{len(vectors)}."
        )
    result = []
    for vector, output in zip(vectors, pull.outputs):
        if not isinstance(vector, Tensor):
            raise RuntimeError(f"vjp_fn: Expected a tensor, got {type(vector).__name__}.")
        made = shown(vector, pull.levels)
        if made._layout.shape != output._layout.shape:
            wanted = list(output._layout.shape[len(pull.levels) :])
            raise RuntimeError(
                f"vjp_fn: Expected a vector of shape {wanted}, as the output is, got "
                f"{list(vector._layout.shape)}."
            )
        result.append(made)
    return result


def linearize(func: Function, *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of `func` at `primals`, and the function v ↦ J v of tangents like `primals`.

    `func` runs once; each call of the result costs one backward pass (see this module).
    """
    leaves, structure = _all_tensors(primals, "linearize(f, *primals)")
    pull = Pullback(lambda *xs: func(*unflatten(xs, structure)), leaves, False)
    push = Pushforward(pull)

    def jvp_fn(*tangents: Any) -> Any:
        return push(flatten(tangents)[0])

    return pull.result, jvp_fn


def jvp(
    func: Function, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False
) -> Any:
    """The value of `func` at `primals`, and J v for the tangents v: reverse mode twice.

    Args:
        func: takes and returns tensors, or nested containers; it must be differentiable twice.
        primals, tangents: tuples, one entry per argument.
        strict: accepted; where an output does not depend on an input the product is zero.
        has_aux: `func` returns (outputs, anything).

    Returns:
        (outputs, products), with `has_aux` (outputs, products, anything).
    """
    if not isinstance(primals, tuple) or not primals:
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals to be a non-empty tuple, got "
            f"{type(primals).__name__}."
        )
    leaves, structure = _all_tensors(primals, "jvp(f, primals, tangents)")
    pull = Pullback(lambda *xs: func(*unflatten(xs, structure)), leaves, has_aux, name="jvp")
    products = Pushforward(pull)(flatten(tangents)[0])
    return (pull.result, products, pull.aux) if has_aux else (pull.result, products)


# ---- Jacobians


def _basis(tensors: Sequence[Tensor], leading: int) -> tuple[list[Tensor], list[int]]:
    """Unit vectors of all elements of some tensors: a row for each, cut up per tensor."""
    layouts = [x._layout for x in tensors]
    shapes = [layout.shape[leading:] for layout in layouts]
    counts = []
    for shape in shapes:
        count = 1
        for size in shape:
            count *= size
        counts.append(count)
    total, start, rows = sum(counts), 0, []
    for layout, shape, count in zip(layouts, shapes, counts):
        unit = creation.eye(total, dtype=layout.dtype, device=layout.device)
        rows.append(views.reshape(views.narrow(unit, 1, start, count), total, *shape))
        start += count
    return rows, counts


def jacrev(
    func: Function,
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """A function that returns the Jacobian of `func`, by reverse mode, all rows at once.

    Args:
        func: takes and returns tensors, or nested containers of them.
        argnums: the argument to differentiate by, or several.
        has_aux: `func` returns (outputs, anything); the result is then (Jacobian, anything).
        chunk_size: rows in one go, to bound the memory; None is all.

    Shape: (*output, *input) for each pair; nested as the outputs, in each as the inputs.
    """

    @functools.wraps(func)
    def wrapped(*args: Any, **options: Any) -> Any:
        leaves, structure = _chosen(args, argnums, "jacrev")
        pull = Pullback(
            _of_chosen(func, args, options, argnums, structure), leaves, has_aux, name="jacrev"
        )
        depth = len(pull.levels)
        rows, counts = _basis(pull.outputs, depth)

        def row(*vectors: Tensor) -> tuple[Tensor, ...]:
            found = pull([shown(vector, pull.levels) for vector in vectors])
            return tuple(hidden(g, pull.levels) for g in found)

        columns = vmap(row, chunk_size=chunk_size)(*rows)
        blocks, start = [], 0
        for output, count in zip(pull.outputs, counts):
            shape = output._layout.shape[depth:]
            parts = [
                views.reshape(views.narrow(c, 0, start, count), *shape, *c._layout.shape[1:])
                for c in columns
            ]
            blocks.append(unflatten(parts, structure))
            start += count
        jacobian = unflatten(blocks, pull.structure)
        return (jacobian, pull.aux) if has_aux else jacobian

    return wrapped


def jacfwd(
    func: Function,
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that returns the Jacobian of `func`, a column for each input element, all at once.

    Forward mode is reverse mode twice here (see this module); `func` runs once.

    Args:
        func: takes and returns tensors, or nested containers; it must be differentiable twice.
        argnums: the argument to differentiate by, or several.
        has_aux: `func` returns (outputs, anything); the result is then (Jacobian, anything).
        randomness: as for `vmap`; `func` runs once, so all columns see the same numbers.
        chunk_size: columns in one go, to bound the memory; None is all.

    Shape: (*output, *input) for each pair; nested as the outputs, in each as the inputs.
    """

    @functools.wraps(func)
    def wrapped(*args: Any, **options: Any) -> Any:
        leaves, structure = _chosen(args, argnums, "jacfwd")
        pull = Pullback(
            _of_chosen(func, args, options, argnums, structure), leaves, has_aux, name="jacfwd"
        )
        depth = len(pull.levels)
        push = Pushforward(pull)
        rows, counts = _basis(pull.inputs, depth)
        columns = flatten(
            vmap(lambda *vs: push(vs), randomness=randomness, chunk_size=chunk_size)(*rows)
        )[0]
        blocks = []
        for column in columns:
            parts, start = [], 0
            for x, count in zip(pull.inputs, counts):
                part = views.movedim(views.narrow(column, 0, start, count), 0, -1)
                shape = x._layout.shape[depth:]
                parts.append(views.reshape(part, *column._layout.shape[1:], *shape))
                start += count
            blocks.append(unflatten(parts, structure))
        jacobian = unflatten(blocks, pull.structure)
        return (jacobian, pull.aux) if has_aux else jacobian

    return wrapped


def hessian(func: Function, argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that returns the matrix of second derivatives, by reverse mode over reverse mode.

    Args:
        func: takes and returns tensors, or nested containers of them.
        argnums: the argument to differentiate by, or several.

    Shape: (*output, *input, *input).
    """
    return jacrev(jacrev(func, argnums), argnums)
