"""`backward` and `grad`: what users call, with PyTorch's checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tritorch.autograd.edges import edge, retain_grad
from tritorch.autograd.engine import GraphTask, run_backward
from tritorch.autograd.node import Edge, Node
from tritorch.autograd.protocol import TensorLike, operations


class GradientEdge(NamedTuple):
    """A place in the graph; stands for the tensor that was there in `backward` and `grad`."""

    node: Node
    output_nr: int


def get_gradient_edge(tensor: TensorLike) -> GradientEdge:
    """The place of a tensor in the graph."""
    if not tensor._requires_grad:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require "
            "gradients"
        )
    node, output_nr = edge(tensor)
    assert node is not None
    return GradientEdge(node, output_nr)


def _as_tuple(tensors: Any) -> tuple[Any, ...]:
    if isinstance(tensors, (GradientEdge, operations.tensor_type)):
        return (tensors,)
    return tuple(tensors)


def _gradients(outputs: Sequence[Any], gradients: Sequence[Any]) -> list[TensorLike | None]:
    """The gradients to start with: those given, ones for scalars."""
    result: list[TensorLike | None] = []
    for index, (output, gradient) in enumerate(zip(outputs, gradients)):
        is_edge = isinstance(output, GradientEdge)
        layout = output.node.output_layouts[output.output_nr] if is_edge else output._layout
        if gradient is None:
            if is_edge or output._requires_grad:
                if layout.numel != 1:
                    raise RuntimeError("grad can be implicitly created only for scalar outputs")
                if not layout.dtype.is_floating_point:
                    raise RuntimeError(
                        "grad can be implicitly created only for real scalar outputs but got "
                        f"{layout.dtype}"
                    )
                gradient = operations.ones_like(operations.zeros(layout) if is_edge else output)
            result.append(gradient)
        elif not isinstance(gradient, operations.tensor_type):
            raise TypeError(
                f"gradients can be either Tensors or None, but got {type(gradient).__name__}"
            )
        else:
            if gradient._layout.shape != layout.shape:
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{index}] has a shape of "
                    f"{gradient.shape} and output[{index}] has a shape of "
                    f"{layout.shape if is_edge else output.shape}."
                )
            result.append(gradient)
    return result


def _roots(outputs: Sequence[Any]) -> list[Edge]:
    roots: list[Edge] = []
    for index, output in enumerate(outputs):
        place = tuple(output) if isinstance(output, GradientEdge) else edge(output)
        if place[0] is None:
            raise RuntimeError(
                f"element {index} of tensors does not require grad and does not have a grad_fn"
            )
        roots.append(place)  # type: ignore[arg-type]
    return roots


def _paired(outputs: tuple[Any, ...], given: Any) -> list[TensorLike | None]:
    gradients = (None,) * len(outputs) if given is None else _as_tuple(given)
    if len(gradients) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(gradients)} gradients")
    return _gradients(outputs, gradients)


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Add to `grad` of every leaf the gradient of these tensors.

    Args:
        tensors: a tensor or several.
        grad_tensors: the gradient of each; None for a scalar means 1.
        retain_graph: keep what was saved, for another backward; as create_graph by default.
        create_graph: record the backward pass, for derivatives of higher order.
        grad_variables: former name of grad_tensors.
        inputs: only these tensors get a gradient.
    Raises:
        RuntimeError: no gradient is wanted, shapes differ, or the graph was freed.
    """
    if grad_variables is not None:
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to "
                "`backward()`. Please only use `grad_tensors`."
            )
        grad_tensors = grad_variables
    targets: list[Edge] | None = None
    if inputs is not None:
        wanted = _as_tuple(inputs)
        if not wanted:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        targets = []
        for tensor in wanted:
            if isinstance(tensor, GradientEdge):
                targets.append((tensor.node, tensor.output_nr))
                continue
            retain_grad(tensor)
            targets.append(edge(tensor))
    outputs = _as_tuple(tensors)
    gradients = _paired(outputs, grad_tensors)
    task = GraphTask(create_graph if retain_graph is None else retain_graph, create_graph, targets)
    run_backward(task, _roots(outputs), gradients)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[TensorLike | None, ...]:
    """The gradients of `outputs` with respect to `inputs`; no `grad` is touched.

    Args:
        outputs: a tensor or several.
        inputs: a tensor or several.
        grad_outputs: the gradient of each output; None for a scalar means 1.
        retain_graph: keep what was saved; as create_graph by default.
        create_graph: record the backward pass, for derivatives of higher order.
        only_inputs: kept for PyTorch's sake; no other gradient is ever stored.
        allow_unused: None instead of an error for an input that took no part.
        is_grads_batched: the first dimension of grad_outputs runs over several gradients.
        materialize_grads: zeros instead of None for such inputs.
    Returns:
        a gradient for each input.
    Raises:
        RuntimeError: no gradient is wanted, shapes differ, an input took no part, or the graph
            was freed.
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
            "allow_unused=False."
        )
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    sources = _as_tuple(outputs)
    wanted = _as_tuple(inputs)
    if not wanted:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    if is_grads_batched:
        return _batched(
            sources,
            wanted,
            grad_outputs,
            retain_graph,
            create_graph,
            allow_unused,
            materialize_grads,
        )
    gradients = _paired(sources, grad_outputs)
    keep = create_graph if retain_graph is None else retain_graph
    targets: list[Edge] = []
    for tensor in wanted:
        if isinstance(tensor, GradientEdge):
            targets.append((tensor.node, tensor.output_nr))
        else:
            if not tensor._requires_grad:
                raise RuntimeError("One of the differentiated Tensors does not require grad")
            targets.append(edge(tensor))
    task = GraphTask(keep, create_graph, targets, capture=True)
    result = run_backward(task, _roots(sources), gradients)
    for index, gradient in enumerate(result):
        if gradient is None and not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {index} appears to not have been used in the "
                "graph. Set allow_unused=True if this is the desired behavior."
            )
    if materialize_grads:
        for index, tensor in enumerate(wanted):
            if result[index] is None:
                if isinstance(tensor, GradientEdge):
                    raise RuntimeError(
                        "materialize_grads cannot be used when the given input is a GradientEdge"
                    )
                result[index] = zeros = operations.zeros(tensor._layout)
                zeros._requires_grad = True  # as PyTorch's
    return tuple(result)


def _batched(
    outputs: tuple[Any, ...],
    inputs: tuple[Any, ...],
    grad_outputs: Any,
    retain_graph: bool | None,
    create_graph: bool,
    allow_unused: bool,
    materialize_grads: bool,
) -> tuple[TensorLike | None, ...]:
    """One backward per gradient of the batch; the results are stacked."""
    batches = _as_tuple(grad_outputs)
    sizes = {batch.shape[0] for batch in batches if batch is not None}
    if len(sizes) != 1:
        raise RuntimeError(
            f"grad: is_grads_batched needs gradients with one common first size, got {sizes}. "
            "Give each grad_output one more dimension in front than its output."
        )
    count = sizes.pop()
    rows = [
        grad(
            outputs,
            inputs,
            [None if batch is None else batch[row] for batch in batches],
            retain_graph=True if row + 1 < count else retain_graph,
            create_graph=create_graph,
            allow_unused=allow_unused,
            materialize_grads=materialize_grads,
        )
        for row in range(count)
    ]
    return tuple(
        None if column[0] is None else operations.stack(list(column)) for column in zip(*rows)
    )
