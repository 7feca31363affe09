"""Products with Jacobians and Hessians, and those matrices, as `torch.autograd.functional`.

Stands above Tensor: uses its public interface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tritorch.autograd.differentiate import grad
from tritorch.autograd.grad_mode import enable_grad
from tritorch.autograd.protocol import TensorLike, operations

Function = Callable[..., Any]
Tensors = tuple[TensorLike, ...]


def _tuple_of(value: Any, what: str, where: str) -> tuple[bool, Tensors]:
    """Whether it was a tuple, and the tensors as one."""
    several = isinstance(value, tuple)
    tensors = value if several else (value,)
    for position, tensor in enumerate(tensors):
        if not isinstance(tensor, operations.tensor_type):
            if several:
                raise TypeError(
                    f"The {what} given to {where} must be either a Tensor or a tuple of Tensors but"
                    f" the value at index {position} has type {type(tensor)}."
                )
            raise TypeError(
                f"The {what} given to {where} must be either a Tensor or a tuple of Tensors but the"
                f" given {what} has type {type(tensor)}."
            )
    return several, tensors


def _prepared(tensors: Sequence[TensorLike], create_graph: bool, need_graph: bool) -> Tensors:
    """The inputs as tensors of their own, so that nothing of the caller's is touched."""
    result = []
    for tensor in tensors:
        if create_graph and tensor.requires_grad:
            # A view keeps the connection to the caller's graph.
            result.append(tensor.view_as(tensor) if need_graph else tensor.clone())
        else:
            result.append(tensor.detach().requires_grad_(need_graph))
    return tuple(result)


def _finished(value: Any, create_graph: bool) -> Any:
    """Without history, unless it was asked for."""
    if isinstance(value, tuple):
        return tuple(_finished(each, create_graph) for each in value)
    return value if create_graph else value.detach()


def _unwrapped(several: bool, value: tuple[Any, ...]) -> Any:
    return value if several else value[0]


def _checked_vectors(v: Any, like: Tensors, several: bool, where: str) -> Tensors:
    _, vectors = _tuple_of(v, "v", where)
    if len(vectors) != len(like):
        if several:
            raise RuntimeError(
                f"v is a tuple of invalid length: should be {len(like)} but got {len(vectors)}."
            )
        raise RuntimeError("The given v should contain a single Tensor.")
    for position, (vector, tensor) in enumerate(zip(vectors, like)):
        if vector.shape != tensor.shape:
            prefix = f"Entry {position} in " if several else ""
            raise RuntimeError(
                f"{prefix}v has invalid size: should be {tensor.shape} but got {vector.shape}."
            )
    return vectors


def _require_graph(outputs: Tensors, strict: bool, what: str) -> None:
    """In strict mode an output that does not depend on the inputs is an error."""
    if not strict:
        return
    for position, output in enumerate(outputs):
        if not output.requires_grad:
            raise RuntimeError(
                f"Output {position} of the user-provided function does not require gradients. The "
                f"outputs must be computed in a differentiable manner from the input when running "
                f"in strict mode ({what})."
            )


def _gradients(
    outputs: Tensors,
    inputs: Tensors,
    vectors: Sequence[TensorLike | None],
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> tuple[TensorLike | None, ...]:
    """`grad` that leaves out outputs without history."""
    pairs = [
        (output, vector)
        for output, vector in zip(outputs, vectors)
        if output is not None and output.requires_grad
    ]
    if not pairs:
        return (None,) * len(inputs)
    sources, weights = zip(*pairs)
    return grad(
        sources,
        inputs,
        weights,
        allow_unused=True,
        create_graph=create_graph,
        retain_graph=retain_graph,
    )


def _filled(
    gradients: Sequence[TensorLike | None], like: Tensors, strict: bool, what: str
) -> Tensors:
    """Zeros where nothing depends on an input; in strict mode that is an error."""
    result = []
    for position, (gradient, tensor) in enumerate(zip(gradients, like)):
        if gradient is None:
            if strict:
                raise RuntimeError(
                    f"The output of the user-provided function is independent of input {position} "
                    f"({what}). This is not allowed in strict mode."
                )
            gradient = operations.zeros(tensor._layout)
        result.append(gradient)
    return tuple(result)


def vjp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of `func` and the product of a vector with its Jacobian, v^T J.

    Args:
        func: takes tensors, returns a tensor or a tuple of them.
        inputs: a tensor or a tuple.
        v: as the outputs; may be left out where there is one output of one element.
        create_graph: the result can be differentiated.
        strict: raise where an output is independent of an input.
    Returns:
        the outputs and the product, which is as the inputs.
    """
    with enable_grad():
        several_in, given = _tuple_of(inputs, "inputs", "vjp")
        prepared = _prepared(given, create_graph, need_graph=True)
        value = func(*prepared)
        several_out, outputs = _tuple_of(value, "outputs of the user-provided function", "vjp")
        _require_graph(outputs, strict, "vjp")
        if v is None:
            if len(outputs) != 1 or outputs[0].numel() != 1:
                raise RuntimeError(
                    "The vector v can only be None if the user-provided function returns a single "
                    "Tensor with a single element."
                )
            vectors: Tensors = (operations.ones_like(outputs[0]),)
        else:
            vectors = _checked_vectors(v, outputs, several_out, "vjp")
            vectors = _prepared(vectors, create_graph, need_graph=False)
        found = _gradients(outputs, prepared, vectors, create_graph=create_graph)
        product = _filled(found, prepared, strict, "vjp")
    return (
        _finished(_unwrapped(several_out, outputs), create_graph),
        _finished(_unwrapped(several_in, product), create_graph),
    )


def jvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of `func` and the product of its Jacobian with a vector, J v.

    By two backward passes: w^T J is linear in w, and its derivative along v is J v.

    Args:
        func: takes tensors, returns a tensor or a tuple of them.
        inputs: a tensor or a tuple.
        v: as the inputs; may be left out where there is one input of one element.
        create_graph: the result can be differentiated.
        strict: raise where an output is independent of an input.
    Returns:
        the outputs and the product, which is as the outputs.
    """
    with enable_grad():
        several_in, given = _tuple_of(inputs, "inputs", "jvp")
        prepared = _prepared(given, create_graph, need_graph=True)
        if v is None:
            if len(prepared) != 1 or prepared[0].numel() != 1:
                raise RuntimeError(
                    "The vector v can only be None if the input to the user-provided function is a "
                    "single Tensor with a single element."
                )
            vectors: Tensors = (operations.ones_like(prepared[0]),)
        else:
            vectors = _checked_vectors(v, prepared, several_in, "jvp")
            vectors = _prepared(vectors, create_graph, need_graph=False)
        value = func(*prepared)
        several_out, outputs = _tuple_of(value, "outputs of the user-provided function", "jvp")
        _require_graph(outputs, strict, "jvp")
        weights = tuple(operations.zeros(out._layout).requires_grad_() for out in outputs)
        backward = _gradients(outputs, prepared, weights, create_graph=True)
        if strict:
            _filled(backward, prepared, strict, "jvp")
        reached = tuple(gradient for gradient in backward if gradient is not None)
        along = [v for v, gradient in zip(vectors, backward) if gradient is not None]
        found = _gradients(reached, weights, along, create_graph=create_graph)
        product = _filled(found, outputs, strict, "jvp")
    return (
        _finished(_unwrapped(several_out, outputs), create_graph),
        _finished(_unwrapped(several_out, product), create_graph),
    )


def jacobian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of `func`: for each output and input a tensor of shape output + input.

    Args:
        func: takes tensors, returns a tensor or a tuple of them.
        inputs: a tensor or a tuple.
        create_graph: the result can be differentiated.
        strict: raise where an output is independent of an input.
        vectorize: all rows (or columns) at once, by `tritorch.func.vmap`; else one by one.
        strategy: "reverse-mode" row by row; "forward-mode" column by column (by `jvp`).
    Returns:
        a tensor, or a tuple over the outputs, the inputs, or both, where those are tuples.
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(
            'Expected strategy to be either "forward-mode" or "reverse-mode", but got: '
            f'"{strategy}".'
        )
    several_in, given = _tuple_of(inputs, "inputs", "jacobian")
    if vectorize:
        return _jacobian_at_once(func, given, several_in, create_graph, strict, strategy)
    if strategy == "forward-mode":
        several_out, columns = _jacobian_by_columns(func, given, create_graph)
    else:
        with enable_grad():
            prepared = _prepared(given, create_graph, need_graph=True)
            value = func(*prepared)
            several_out, outputs = _tuple_of(
                value, "outputs of the user-provided function", "jacobian"
            )
            _require_graph(outputs, strict, "jacobian")
            columns = tuple(_rows(output, prepared, create_graph, strict) for output in outputs)
    matrix = tuple(_unwrapped(several_in, entry) for entry in columns)
    return _finished(_unwrapped(several_out, matrix), create_graph)


def _jacobian_at_once(
    func: Function,
    inputs: Tensors,
    several_in: bool,
    create_graph: bool,
    strict: bool,
    strategy: str,
) -> Any:
    """The same by one batched pass."""
    from tritorch import func as transforms

    if strict:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorize=True` are not "
            "supported together. Please either set `strict=False` or `vectorize=False`."
        )
    outputs: list[Any] = []

    def checked(*arguments: TensorLike) -> Any:
        value = func(*arguments)
        outputs.append(_tuple_of(value, "outputs of the user-provided function", "jacobian"))
        return value

    prepared = _prepared(inputs, create_graph, need_graph=False)
    made = transforms.jacrev if strategy == "reverse-mode" else transforms.jacfwd
    found = made(checked, tuple(range(len(inputs))))(*prepared)
    several_out = outputs[0][0]
    rows = found if several_out else (found,)
    matrix = tuple(_unwrapped(several_in, row) for row in rows)
    return _finished(_unwrapped(several_out, matrix), create_graph)


def _rows(output: TensorLike, inputs: Tensors, create_graph: bool, strict: bool) -> Tensors:
    """The derivatives of one output by each input."""
    rows: list[list[TensorLike]] = [[] for _ in inputs]
    flat = output.reshape(-1)
    for position in range(flat.numel()):
        found = _gradients(
            (flat[position],), inputs, (None,), create_graph=create_graph, retain_graph=True
        )
        for row, gradient in zip(rows, _filled(found, inputs, strict, "jacobian")):
            row.append(gradient)
    return tuple(
        (operations.stack(row) if row else tensor.new_zeros((0, *tensor.shape))).reshape(
            (*output.shape, *tensor.shape)
        )
        for row, tensor in zip(rows, inputs)
    )


def _jacobian_by_columns(
    func: Function, inputs: Tensors, create_graph: bool
) -> tuple[bool, tuple[Tensors, ...]]:
    """The derivatives of each output by each input, one input element after the other."""
    columns: list[list[Tensors]] = []
    several = False
    for chosen, tensor in enumerate(inputs):
        columns.append([])
        for element in range(tensor.numel()):
            direction = tuple(operations.zeros(each._layout) for each in inputs)
            direction[chosen].view(-1)[element] = 1.0
            value, product = jvp(func, inputs, direction, create_graph=create_graph)
            several = isinstance(value, tuple)
            columns[-1].append(product if several else (product,))
    return several, tuple(
        tuple(
            operations.stack([column[number] for column in columns[chosen]])
            .movedim(0, -1)
            .reshape((*columns[chosen][0][number].shape, *tensor.shape))
            for chosen, tensor in enumerate(inputs)
        )
        for number in range(len(columns[0][0]))
    )


def _scalar(value: Any, where: str) -> TensorLike:
    if not isinstance(value, operations.tensor_type):
        raise RuntimeError(
            f"The function given to {where} should return a single Tensor, got {type(value)}."
        )
    if value.numel() != 1:
        raise RuntimeError(
            f"The Tensor returned by the function given to {where} should contain a single element"
        )
    return value.reshape(())


def hessian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The matrix of second derivatives of a `func` that returns a single element.

    Args:
        func: takes tensors, returns a tensor of one element.
        inputs: a tensor or a tuple.
        create_graph: the result can be differentiated.
        strict: raise where the gradient is independent of an input.
        vectorize: all rows at once, see `jacobian`.
        outer_jacobian_strategy: see `jacobian`.
    Returns:
        a tensor, or for a tuple of inputs a tuple of tuples: entry (i, j) by inputs i and j.
    """
    several, given = _tuple_of(inputs, "inputs", "hessian")

    def gradient(*arguments: TensorLike) -> Tensors:
        result = _scalar(func(*arguments), "hessian")
        _require_graph((result,), strict, "hessian")
        found = _gradients((result,), arguments, (None,), create_graph=True)
        return _filled(found, arguments, strict, "hessian")

    matrix = jacobian(
        gradient,
        given,
        create_graph=create_graph,
        strict=strict,
        vectorize=vectorize,
        strategy=outer_jacobian_strategy,
    )
    return matrix if several else matrix[0][0]


def vhp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of `func` and the product of a vector with its Hessian, v^T H.

    Args:
        func: takes tensors, returns a tensor of one element.
        inputs: a tensor or a tuple.
        v: as the inputs; may be left out where there is one input of one element.
        create_graph: the result can be differentiated.
        strict: raise where the gradient is independent of an input.
    Returns:
        the output and the product, which is as the inputs.
    """
    with enable_grad():
        several, given = _tuple_of(inputs, "inputs", "vhp")
        prepared = _prepared(given, create_graph, need_graph=True)
        if v is None:
            if len(prepared) != 1 or prepared[0].numel() != 1:
                raise RuntimeError(
                    "The vector v can only be None if the input to the user-provided function is a "
                    "single Tensor with a single element."
                )
            vectors: Tensors = (operations.ones_like(prepared[0]),)
        else:
            vectors = _checked_vectors(v, prepared, several, "vhp")
            vectors = _prepared(vectors, create_graph, need_graph=False)
        output = func(*prepared)
        scalar = _scalar(output, "vhp")
        _require_graph((scalar,), strict, "vhp")
        first = _gradients((scalar,), prepared, (None,), create_graph=True)
        if strict:
            _filled(first, prepared, strict, "vhp")
        found = _gradients(tuple(first), prepared, vectors, create_graph=create_graph)
        product = _filled(found, prepared, strict, "vhp")
    return _finished(output, create_graph), _finished(_unwrapped(several, product), create_graph)


def hvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value of `func` and the product of its Hessian with a vector, H v.

    The Hessian is symmetric, so this is `vhp`.

    Args:
        func: takes tensors, returns a tensor of one element.
        inputs: a tensor or a tuple.
        v: as the inputs; may be left out where there is one input of one element.
        create_graph: the result can be differentiated.
        strict: raise where the gradient is independent of an input.
    Returns:
        the output and the product, which is as the inputs.
    """
    return vhp(func, inputs, v, create_graph, strict)
