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
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tritorch.autograd.differentiate import GradientEdge
from tritorch.autograd.differentiate import grad as autograd_grad
from tritorch.autograd.edges import attach, edge
from tritorch.autograd.grad_mode import enable_grad, is_grad_enabled
from tritorch.autograd.node import NO_EDGE, AccumulateGrad, Node
from tritorch.func.batched import BatchedTensor, state
from tritorch.func.interception import gradients
from tritorch.func.levels import Levels, hidden, innermost_value, shown
from tritorch.func.mapping import vmap
from tritorch.func.trees import Structure, flatten, mapped, unflatten
from tritorch.ops import creation, views
from tritorch.tensor import Tensor, check_requires_grad

Function = Callable[..., Any]
Argnums = int | tuple[int, ...]


class FuncInput(Node):
    """Where an input of a differentiated function enters the graph."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """The gradient itself: it goes on to what the input was made of."""
        return (grads[0],)


def _input(x: Tensor, linked: bool) -> tuple[Tensor, FuncInput]:
    """The same elements at a fresh place in the graph."""
    check_requires_grad(x)
    tracked = x.detach()
    node = FuncInput((edge(x) if linked else NO_EDGE,), (x._layout,))
    attach(tracked, node)
    return tracked, node


class _Enclosing(threading.local):
    #: the inputs of the derivatives whose functions are running in this thread
    places: frozenset[Node] = frozenset()


_enclosing = _Enclosing()


def _leads_out(tensors: Sequence[Tensor]) -> bool:
    """Whether their history has a leaf, or the input of a derivative further out."""
    known = set()
    stack = [innermost_value(x)._grad_fn for x in tensors if x._requires_grad]
    stack += [edge(innermost_value(x))[0] for x in tensors if x._requires_grad and stack[0] is None]
    while stack:
        node = stack.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if isinstance(node, AccumulateGrad) or node in _enclosing.places:
            return True
        stack += [following for following, _ in node.next_functions]
    return False


def _backward(
    outputs: list[Tensor], inputs: list[GradientEdge], vectors: list[Tensor], **options: Any
) -> Sequence[Any]:
    """`autograd.grad`, also of vectors that are batched where the graph is not."""
    if not any(isinstance(vector, BatchedTensor) for vector in vectors):
        return autograd_grad(outputs, inputs, vectors, **options)
    with gradients:
        return autograd_grad(outputs, inputs, vectors, **options)


class _Pullback:
    """The derivative of some outputs by some inputs, as a linear map from right to left.

    Args:
        func: the function of the inputs; called once, here.
        inputs: tensors. has_aux: the function returns (outputs, further results).
        check: called on the outputs before anything else is done with them.
    """

    def __init__(
        self, func: Function, inputs: Sequence[Tensor], has_aux: bool,
        check: Callable[[Any], None] | None = None, name: str = "vjp",
    ) -> None:  # fmt: skip
        self.levels: Levels = state.levels
        self.recording = is_grad_enabled()
        tracked = [_input(shown(x, self.levels), self.recording) for x in inputs]
        self.inputs = [x for x, _ in tracked]
        self.places = [node for _, node in tracked]
        with enable_grad():
            around = _enclosing.places
            _enclosing.places = around.union(self.places)
            try:
                result = func(*(hidden(x, self.levels) for x in self.inputs))
            finally:
                _enclosing.places = around
            aux = None
            if has_aux:
                if not (isinstance(result, tuple) and len(result) == 2):
                    raise RuntimeError(
                        f"{name}(f)(*args): output of function f should be a tuple: (output, aux) "
                        f"if has_aux is True, got {type(result).__name__}"
                    )
                result, aux = result
            if check is not None:
                check(result)
            leaves, self.structure = flatten(result)
            for leaf in leaves:
                if not isinstance(leaf, Tensor):
                    raise RuntimeError(
                        f"{name}(f, *primals): Expected f(*primals) to return only tensors, got "
                        f"unsupported type {type(leaf)}"
                    )
            self.outputs = [shown(leaf, self.levels) for leaf in leaves]
        extra = [leaf for leaf in flatten(aux)[0] if isinstance(leaf, Tensor)]
        self.leads_out = self.recording and _leads_out([*self.outputs, *extra])
        self.aux = mapped(self.released, aux) if has_aux else None
        self.result = unflatten([self.released(leaf) for leaf in leaves], self.structure)

    def released(self, value: Any) -> Any:
        """A result as others may see it: with history only where that leads out of here."""
        if self.leads_out or not isinstance(value, Tensor) or not value._requires_grad:
            return value
        return value.detach()

    def __call__(
        self, cotangents: Sequence[Tensor], *, retain: bool = True, create: bool | None = None
    ) -> list[Tensor]:
        """The gradients of the inputs, with the samples of all levels shown."""
        if create is None:
            create = is_grad_enabled() and (
                self.leads_out or any(c._requires_grad for c in cotangents)
            )
        pairs = [(o, c) for o, c in zip(self.outputs, cotangents) if o._requires_grad]
        found: Sequence[Any] = [None] * len(self.inputs)
        if pairs:
            found = _backward(
                [output for output, _ in pairs],
                [GradientEdge(node, 0) for node in self.places],
                [cotangent for _, cotangent in pairs],
                retain_graph=retain,
                create_graph=create,
                allow_unused=True,
            )
        return [
            _zeros_of(x) if gradient is None else gradient
            for x, gradient in zip(self.inputs, found)
        ]


def _zeros_of(x: Tensor) -> Tensor:
    layout = x._layout
    return creation.zeros(layout.shape, dtype=layout.dtype, device=layout.device)


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
        pull = _Pullback(
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
    pull = _Pullback(lambda *xs: func(*unflatten(xs, structure)), leaves, has_aux)

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


def _matched(given: Any, pull: _Pullback) -> list[Tensor]:
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
    pull = _Pullback(lambda *xs: func(*unflatten(xs, structure)), leaves, False)
    push = _Pushforward(pull)

    def jvp_fn(*tangents: Any) -> Any:
        return push(flatten(tangents)[0])

    return pull.result, jvp_fn


class _Pushforward:
    """v ↦ J v: the pullback's own pullback, taken at any vectors since the pullback is linear."""

    def __init__(self, pull: _Pullback) -> None:
        self.pull = pull
        with enable_grad():
            pairs = [_input(_zeros_of(output), False) for output in pull.outputs]
            self.gradients = pull([x for x, _ in pairs], create=True)
        self.vectors = [x for x, _ in pairs]
        self.places = [node for _, node in pairs]

    def __call__(self, tangents: Sequence[Any]) -> Any:
        pull = self.pull
        if len(tangents) != len(pull.inputs):
            raise RuntimeError(
                f"jvp: Expected {len(pull.inputs)} tangents, one for each primal, got "
                f"{len(tangents)}."
            )
        given = []
        for tangent, x in zip(tangents, pull.inputs):
            if not isinstance(tangent, Tensor):
                raise RuntimeError(f"jvp: Expected tensors as tangents, got {type(tangent)}.")
            vector = shown(tangent, pull.levels)
            if vector._layout.shape != x._layout.shape:
                raise RuntimeError(
                    "jvp: Expected tangents of the primals' shapes, got "
                    f"{list(tangent._layout.shape)} for "
                    f"{list(x._layout.shape[len(pull.levels) :])}."
                )
            given.append(vector)
        create = is_grad_enabled() and (pull.leads_out or any(v._requires_grad for v in given))
        used = [(g, v) for g, v in zip(self.gradients, given) if g._requires_grad]
        found: Sequence[Any] = [None] * len(self.vectors)
        if used:
            found = _backward(
                [g for g, _ in used],
                [GradientEdge(node, 0) for node in self.places],
                [v for _, v in used],
                retain_graph=True,
                create_graph=create,
                allow_unused=True,
            )
        leaves = [
            hidden(_zeros_of(u) if v is None else v, pull.levels)
            for u, v in zip(self.vectors, found)
        ]
        return unflatten(leaves, pull.structure)


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
    pull = _Pullback(lambda *xs: func(*unflatten(xs, structure)), leaves, has_aux, name="jvp")
    products = _Pushforward(pull)(flatten(tangents)[0])
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
        pull = _Pullback(
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
        pull = _Pullback(
            _of_chosen(func, args, options, argnums, structure), leaves, has_aux, name="jacfwd"
        )
        depth = len(pull.levels)
        push = _Pushforward(pull)
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
