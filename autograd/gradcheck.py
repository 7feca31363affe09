"""Gradients against central differences: `gradcheck`, `gradgradcheck`.

Stands above Tensor: uses its public interface. The comparison itself is done by NumPy on the host.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tritorch.autograd.differentiate import grad
from tritorch.autograd.edges import attach, edge
from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.node import Gradients, Node
from tritorch.autograd.protocol import TensorLike, operations

Array = np.ndarray[Any, Any]


class GradcheckError(RuntimeError):
    """The gradients differ, or the backward pass is not what it should be."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    fast_mode: bool = False,
) -> bool:
    """Compare the gradients of `func` with (f(x + eps) - f(x - eps)) / 2 eps.

    Args:
        func: takes the inputs, returns a tensor or several.
        inputs: tensors (those that require a gradient are checked, in float64) and other values.
        eps: the step.
        atol, rtol: |analytical - numerical| <= atol + rtol |numerical|.
        raise_exception: raise GradcheckError; otherwise return False.
        nondet_tol: how much two runs of the backward pass may differ.
        check_undefined_grad: a backward pass to which no gradient comes must give none, or zeros.
        check_grad_dtypes: gradients must have their inputs' dtypes.
        fast_mode: compare one random projection instead of every entry.
    Returns:
        whether they agree.
    """
    try:
        _gradcheck(
            func, _as_tuple(inputs), eps, atol, rtol, nondet_tol, check_undefined_grad,
            check_grad_dtypes, fast_mode,
        )  # fmt: skip
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    fast_mode: bool = False,
) -> bool:
    """`gradcheck` of the backward pass of `func`: second derivatives.

    Args:
        func, inputs: as in `gradcheck`.
        grad_outputs: the gradients to start from; random ones when left out.
        gen_non_contig_grad_outputs: let the random ones be strided.
        eps, atol, rtol, raise_exception, nondet_tol, check_undefined_grad, check_grad_dtypes,
            fast_mode: as in `gradcheck`.
    Returns:
        whether they agree.
    """
    given = _as_tuple(inputs)
    outputs = _differentiable(func(*given))
    if grad_outputs is None:
        random = np.random.default_rng(0)
        weights = tuple(
            _random_like(random, output, gen_non_contig_grad_outputs) for output in outputs
        )
    else:
        weights = _as_tuple(grad_outputs)
    number = len(weights)

    def backward(*arguments: Any) -> tuple[TensorLike, ...]:
        values, seeds = arguments[:-number], arguments[-number:]
        wanted = [value for value in values if _requires_grad(value)]
        found = grad(
            _differentiable(func(*values)), wanted, seeds, create_graph=True, allow_unused=True
        )
        return tuple(gradient for gradient in found if gradient is not None)

    return gradcheck(
        backward,
        given + weights,
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        fast_mode=fast_mode,
    )


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _requires_grad(value: Any) -> bool:
    return isinstance(value, operations.tensor_type) and bool(value._requires_grad)


def _differentiable(value: Any) -> tuple[TensorLike, ...]:
    return tuple(output for output in _as_tuple(value) if _requires_grad(output))


def _random_like(random: np.random.Generator, like: TensorLike, strided: bool) -> TensorLike:
    shape = tuple(like.shape)
    if strided and shape:
        wide = _tensor(random.standard_normal((*shape, 2)), like)
        return wide[..., 0].detach().requires_grad_()
    return _tensor(np.asarray(random.standard_normal(shape)), like).requires_grad_()


def _tensor(values: Array, like: TensorLike) -> TensorLike:
    """A tensor of these values in the dtype and on the device of another."""
    import tritorch

    made: TensorLike = tritorch.from_numpy(np.array(values))
    return made.to(like.dtype).to(like.device)


def _host(tensor: TensorLike) -> Array:
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float64)


def _gradcheck(
    func: Callable[..., Any],
    inputs: tuple[Any, ...],
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
    check_undefined_grad: bool,
    check_grad_dtypes: bool,
    fast_mode: bool,
) -> None:
    _check_inputs(inputs)
    checked = [value for value in inputs if _requires_grad(value)]
    everything = func(*inputs)
    outputs = _differentiable(everything)
    if not outputs:
        _check_independent(func, inputs, checked, eps)
        return
    for output_nr, output in enumerate(outputs):

        def evaluate(output_nr: int = output_nr) -> Array:
            return _host(_selected(func(*inputs), everything)[output_nr]).ravel()

        if fast_mode:
            _check_projection(evaluate, output, output_nr, checked, eps, atol, rtol)
        else:
            _check_every_entry(
                evaluate, output, output_nr, checked, eps, atol, rtol, nondet_tol, check_grad_dtypes
            )
    if check_undefined_grad:
        _check_undefined(func, inputs, checked)


def _selected(value: Any, pattern: Any) -> tuple[TensorLike, ...]:
    """The outputs that were differentiable when the pattern was computed with history."""
    return tuple(
        output
        for output, model in zip(_as_tuple(value), _as_tuple(pattern))
        if _requires_grad(model)
    )


def _check_inputs(inputs: tuple[Any, ...]) -> None:
    found = False
    for position, value in enumerate(inputs):
        if not _requires_grad(value):
            continue
        found = True
        if value.dtype.name != "float64":
            warnings.warn(
                f"Input #{position} requires gradient and is not a double precision floating point "
                "or complex. This check will likely fail if all the inputs are not of double "
                "precision floating point or complex.",
                stacklevel=4,
            )
        layout = value._layout
        if any(stride == 0 and size > 1 for stride, size in zip(layout.strides, layout.shape)):
            raise RuntimeError(
                f"The {position}th input has a dimension with stride 0. gradcheck only supports "
                "inputs that are non-overlapping to be able to compute the numerical gradients "
                "correctly. You should call .contiguous on the input before passing it to "
                "gradcheck."
            )
    if not found:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them "
            "have requires_grad=True."
        )


class _Perturbed:
    """An input whose elements are changed in place, unseen by the graph."""

    def __init__(self, tensor: TensorLike) -> None:
        self._tensor = tensor
        self._original = tensor.detach().cpu().numpy().copy()

    def write(self, values: Array) -> None:
        with no_grad():
            self._tensor.data.copy_(_tensor(values, self._tensor))

    @property
    def values(self) -> Array:
        return self._original.copy()

    def restore(self) -> None:
        self.write(self._original)


def _numerical(evaluate: Callable[[], Array], tensor: TensorLike, eps: float) -> Array:
    """d output / d input, one row per element of the input."""
    perturbed = _Perturbed(tensor)
    rows = []
    try:
        for index in np.ndindex(*tensor.shape):
            values = perturbed.values
            centre = values[index]
            values[index] = centre + eps
            perturbed.write(values)
            above = evaluate()
            values[index] = centre - eps
            perturbed.write(values)
            rows.append((above - evaluate()) / (2 * eps))
    finally:
        perturbed.restore()
    return np.stack(rows) if rows else np.zeros((0, 0))


def _analytical(
    output: TensorLike, inputs: Sequence[TensorLike], check_dtypes: bool
) -> list[Array]:
    """The same by the backward pass, for each input."""
    columns: list[list[Array]] = [[] for _ in inputs]
    shape = tuple(output.shape)
    for index in np.ndindex(*shape):
        seed = np.zeros(shape)
        seed[index] = 1.0
        weight = _tensor(seed, output)
        found = grad(output, list(inputs), weight, retain_graph=True, allow_unused=True)
        for column, gradient, tensor in zip(columns, found, inputs):
            if gradient is None:
                column.append(np.zeros(tensor.numel()))
                continue
            if check_dtypes and gradient.dtype is not tensor.dtype:
                raise GradcheckError("Backward is not returning gradients with the right dtype")
            column.append(_host(gradient).ravel())
    return [
        np.stack(column, 1) if column else np.zeros((tensor.numel(), 0))
        for column, tensor in zip(columns, inputs)
    ]


def _check_every_entry(
    evaluate: Callable[[], Array],
    output: TensorLike,
    output_nr: int,
    inputs: Sequence[TensorLike],
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
    check_dtypes: bool,
) -> None:
    first = _analytical(output, inputs, check_dtypes)
    again = _analytical(output, inputs, False)
    for position, (analytical, second, tensor) in enumerate(zip(first, again, inputs)):
        if not np.allclose(analytical, second, rtol=0, atol=nondet_tol, equal_nan=True):
            raise GradcheckError(
                "Backward is not reentrant, i.e., running backward with same input and grad_output "
                "multiple times gives different values, although analytical gradient matches "
                f"numerical gradient. The tolerance for nondeterminism was {nondet_tol}."
            )
        numerical = _numerical(evaluate, tensor, eps).reshape(analytical.shape)
        if not np.allclose(analytical, numerical, rtol=rtol, atol=atol):
            raise GradcheckError(
                f"Jacobian mismatch for output {output_nr} with respect to input {position},\n"
                f"numerical:{numerical}\nanalytical:{analytical}\n"
            )


def _check_projection(
    evaluate: Callable[[], Array],
    output: TensorLike,
    output_nr: int,
    inputs: Sequence[TensorLike],
    eps: float,
    atol: float,
    rtol: float,
) -> None:
    """v^T J u for random unit u and v."""
    random = np.random.default_rng(0)
    v = np.asarray(_unit(random, tuple(output.shape)))
    weight = _tensor(v, output)
    found = grad(output, list(inputs), weight, retain_graph=True, allow_unused=True)
    for position, (tensor, gradient) in enumerate(zip(inputs, found)):
        u = _unit(random, tuple(tensor.shape))
        analytical = 0.0 if gradient is None else float((_host(gradient) * u).sum())
        perturbed = _Perturbed(tensor)
        try:
            perturbed.write(perturbed.values + eps * u)
            above = evaluate()
            perturbed.write(perturbed.values - eps * u)
            below = evaluate()
        finally:
            perturbed.restore()
        numerical = float(((above - below) / (2 * eps) * v.ravel()).sum())
        if not np.allclose(analytical, numerical, rtol=rtol, atol=atol):
            raise GradcheckError(
                f"Jacobian mismatch for output {output_nr} with respect to input {position},\n"
                f"numerical:{numerical}\nanalytical:{analytical}\n\nThe above quantities relating "
                "the numerical and analytical jacobians are computed in fast mode. Rerun with "
                "fast_mode=False for every entry."
            )


def _unit(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    values = np.asarray(random.standard_normal(shape))
    length = float(np.sqrt((values**2).sum()))
    return np.asarray(values / length) if length else values


def _check_independent(
    func: Callable[..., Any], inputs: tuple[Any, ...], checked: Sequence[TensorLike], eps: float
) -> None:
    """No output requires a gradient: then none may depend on the inputs."""
    tensors = [o for o in _as_tuple(func(*inputs)) if isinstance(o, operations.tensor_type)]
    floating = [n for n, o in enumerate(tensors) if o.dtype.is_floating_point]
    for output_nr in floating:

        def evaluate(output_nr: int = output_nr) -> Array:
            values = [o for o in _as_tuple(func(*inputs)) if isinstance(o, operations.tensor_type)]
            return _host(values[output_nr]).ravel()

        for tensor in checked:
            if np.any(_numerical(evaluate, tensor, eps) != 0):
                raise GradcheckError("Numerical gradient for function expected to be zero")


class _Undefined(Node):
    """Hands nothing on."""

    __slots__ = ()

    def apply(self, grads: Gradients) -> Gradients:
        """No gradient."""
        return (None,)


def _check_undefined(
    func: Callable[..., Any], inputs: tuple[Any, ...], checked: Sequence[TensorLike]
) -> None:
    """With no gradient coming in, each input gets none, or zeros."""
    outputs = _differentiable(func(*inputs))
    chosen = [{n} for n in range(len(outputs))] if len(outputs) > 1 else []
    for missing in [set(range(len(outputs))), *chosen]:
        sources = []
        seeds = []
        for number, output in enumerate(outputs):
            if number in missing:
                alias = output.detach()
                attach(alias, _Undefined((edge(output),), (output._layout,)))
                sources.append(alias)
                seeds.append(operations.ones_like(output))
            else:
                sources.append(output)
                seeds.append(operations.zeros(output._layout))
        found = grad(sources, list(checked), seeds, retain_graph=True, allow_unused=True)
        for gradient in found:
            if gradient is not None and np.any(_host(gradient) != 0):
                raise GradcheckError(
                    "Expected all input grads to be undefined or zero when all output grads are "
                    "undefined or zero."
                )
