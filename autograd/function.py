"""Custom operations: `Function` with `forward` and `backward`, as PyTorch has it."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tritorch.autograd.edges import attach, edge
from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.autograd.hooks import hooks_of
from tritorch.autograd.inplace import rebase_history
from tritorch.autograd.node import Edge, Gradients, Node
from tritorch.autograd.protocol import TensorLike, operations
from tritorch.autograd.saved import FREED, PackedTensor, SavedInput, SavedOutput
from tritorch.autograd.views import IN_CUSTOM_FUNCTION, MULTI_OUTPUT, as_view

_VIEW_WITH_MANY_OUTPUTS = (
    "If your Function modifies inplace an input that is a view of another Tensor, your Function "
    "cannot return more than one Tensor. This is not supported by the current autograd engine. You "
    "should either make sure the input is not a view (using .clone() for example) or make your "
    "Function only return one Tensor (potentially splitting it into two Functions: one doing the "
    "inplace that returns a single Tensor and a second one that does the other operations)."
)


class FunctionCtx:
    """What `forward` and `backward` of a custom Function get as `ctx`."""

    #: tensors given to save_for_backward, until they are saved at the end of forward
    _to_save: tuple[Any, ...] = ()
    _dirty: tuple[Any, ...] = ()
    _non_differentiable: tuple[Any, ...] = ()
    #: None in place of a missing gradient becomes zeros before backward is called
    materialize_grads: bool = True
    #: for each argument of forward, whether its gradient is wanted
    needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: TensorLike | None) -> None:
        """Keep inputs, outputs or intermediates for backward; at most once per forward."""
        self._to_save = tensors

    def save_for_forward(self, *tensors: TensorLike | None) -> None:
        """For forward-mode differentiation, which is not there: keeps them all the same."""
        self.saved_for_forward = tensors

    def mark_dirty(self, *tensors: TensorLike) -> None:
        """Say which inputs forward writes to; each must also be returned."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: TensorLike) -> None:
        """Say which outputs have no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """False: backward gets None, not zeros, for outputs without a gradient."""
        self.materialize_grads = value


class FunctionNode(Node, FunctionCtx):
    """The node of a custom Function; it is its `ctx` too."""

    #: the Function class
    _forward_cls: Any = None
    wants_undefined = True

    #: for each argument of forward, whether it is a tensor (only those have an edge)
    _is_tensor: tuple[bool, ...] = ()

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What save_for_backward was given, in that order."""
        if self._saved is None:
            raise RuntimeError(FREED)
        result = []
        for position, tensor in enumerate(self.unpack()):
            entry = self._saved[position]
            result.append(entry.with_history(self) if isinstance(entry, SavedOutput) else tensor)
        return tuple(result)

    @property
    def saved_variables(self) -> tuple[Any, ...]:
        """Former name of saved_tensors."""
        warnings.warn("'saved_variables' is deprecated; use 'saved_tensors'", stacklevel=2)
        return self.saved_tensors

    def keep(self) -> None:
        """Save what save_for_backward was given, now that the outputs have their history."""
        saved: list[Any] = []
        packs = bool(grad_mode_state.saved_tensor_hooks)
        for position, tensor in enumerate(self._to_save):
            if tensor is None:
                saved.append(None)
            elif not isinstance(tensor, operations.tensor_type):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {position} is of "
                    f"type {type(tensor).__name__}"
                )
            else:
                own = tensor._grad_fn is self
                if packs:
                    saved.append(PackedTensor(tensor, self, own))
                else:
                    saved.append(SavedOutput(tensor, self) if own else SavedInput(tensor))
        self._keep(saved)
        self._to_save = ()

    def apply(self, grads: Gradients) -> Gradients:
        """Call the user's backward and check what it returns."""
        function = self._forward_cls
        compute = function.backward
        if compute is Function.backward:
            compute = function.vjp
        if self.materialize_grads:
            grads = tuple(
                [
                    operations.zeros(layout)
                    if gradient is None and layout is not None
                    else gradient
                    for gradient, layout in zip(grads, self.output_layouts)
                ]
            )
        returned = compute(self, *grads)
        result = returned if isinstance(returned, tuple) else (returned,)
        is_tensor = self._is_tensor
        expected = len(is_tensor)
        if len(result) > expected and all(value is None for value in result[expected:]):
            result = result[:expected]
        if len(result) != expected:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected "
                f"{expected}, got {len(result)})"
            )
        gradients = []
        for position, (gradient, wanted) in enumerate(zip(result, is_tensor)):
            if not wanted:
                if gradient is not None:
                    raise RuntimeError(
                        f"function {self.name()} returned a gradient different than None at "
                        f"position {position + 1}, but the corresponding forward input was not a "
                        "Variable"
                    )
                continue
            if gradient is not None and not isinstance(gradient, operations.tensor_type):
                raise RuntimeError(f"expected Variable or None (got {type(gradient).__name__})")
            gradients.append(gradient)
        return tuple(gradients)


class FunctionMeta(type):
    """Gives each Function the class of its nodes, named after it."""

    def __init__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> None:
        super().__init__(name, bases, members)
        cls._backward_cls = type(name + "Backward", (FunctionNode,), {"_forward_cls": cls})


class Function(metaclass=FunctionMeta):
    """An operation with a gradient of your own.

    Example:
        >>> import tritorch
        >>> class Exp(tritorch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         result = x.exp()
        ...         ctx.save_for_backward(result)
        ...         return result
        ...     @staticmethod
        ...     def backward(ctx, grad_output):
        ...         (result,) = ctx.saved_tensors
        ...         return grad_output * result
        >>> x = tritorch.zeros(1, requires_grad=True)
        >>> Exp.apply(x).backward()
        >>> x.grad
        tensor([1.])
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all "
            "static, so you should invoke them on the class itself. Instantiating an autograd "
            "function will raise an error in a future version of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    @staticmethod
    def forward(*arguments: Any, **options: Any) -> Any:
        """Compute the outputs: `forward(ctx, *args)`, or `forward(*args)` with setup_context."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keep in `ctx` what backward needs; then forward takes no `ctx`."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradient of each argument of forward, from those of the outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    # vjp is another name of backward.
    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """Forward-mode differentiation, which is not there."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with "
            "forward mode AD."
        )

    @classmethod
    def apply(cls, *arguments: Any, **options: Any) -> Any:
        """Run forward and record it; what it returns, with history."""
        separate = cls.setup_context is not Function.setup_context
        if options or separate:
            arguments = _bound(cls.forward, separate, arguments, options)
        state = grad_mode_state
        tensor_type = operations.tensor_type
        is_tensor = tuple([isinstance(value, tensor_type) for value in arguments])
        wanted = tuple(
            [known and bool(value._requires_grad) for known, value in zip(is_tensor, arguments)]
        )
        recording = state.enabled and True in wanted
        edges: tuple[Edge, ...] = ()
        if recording:
            edges = tuple([edge(value) for value, known in zip(arguments, is_tensor) if known])
        ctx = cls._backward_cls(edges, ())
        ctx.needs_input_grad = wanted
        ctx._is_tensor = is_tensor
        previous, state.enabled = state.enabled, False
        try:
            if separate:
                output = cls.forward(*arguments)
                cls.setup_context(ctx, arguments, output)
            else:
                output = cls.forward(ctx, *arguments)
        finally:
            state.enabled = previous
        several = isinstance(output, tuple)
        outputs = _wrapped(ctx, output if several else (output,), arguments, recording)
        if recording:
            ctx.keep()
        else:
            ctx._to_save = ()
        ctx._dirty = ctx._non_differentiable = ()
        return outputs if several else outputs[0]


@functools.cache
def _signature(forward: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(forward)


def _bound(
    forward: Callable[..., Any], separate: bool, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, ...]:
    """All arguments by position, defaults included."""
    given = arguments if separate else (None, *arguments)
    bound = _signature(forward).bind(*given, **options)
    bound.apply_defaults()
    values = (*bound.args, *bound.kwargs.values())
    return values if separate else values[1:]


def _is_among(tensor: TensorLike, tensors: Sequence[Any]) -> bool:
    return any(tensor is other for other in tensors)


def _wrapped(
    ctx: FunctionNode, outputs: tuple[Any, ...], arguments: tuple[Any, ...], recording: bool
) -> tuple[Any, ...]:
    """The outputs with their history."""
    tensor_type = operations.tensor_type
    number_of_tensors = sum(isinstance(output, tensor_type) for output in outputs)
    layouts: list[Any] = []
    result: list[Any] = []
    differentiable = 0
    for tensor in ctx._dirty:
        if not _is_among(tensor, outputs):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as "
                "output. The inputs that are modified inplace must all be outputs of the Function."
            )
    ctx.output_layouts = tuple([getattr(output, "_layout", None) for output in outputs])
    for output_nr, output in enumerate(outputs):
        layouts.append(output._layout if isinstance(output, tensor_type) else None)
        if not isinstance(output, tensor_type):
            result.append(output)
            continue
        is_input = _is_among(output, arguments)
        is_dirty = _is_among(output, ctx._dirty)
        has_gradient = (
            recording
            and output._layout.dtype.is_floating_point
            and not _is_among(output, ctx._non_differentiable)
        )
        if not has_gradient:
            output = _without_history(output, is_input, is_dirty)
        else:
            differentiable += 1
            if is_dirty:
                _transplant(ctx, output, output_nr, arguments, number_of_tensors)
            else:
                if is_input:
                    alias = operations.detach(output)
                    output = as_view(alias, output)
                if output._view is not None:
                    output._view.creation = IN_CUSTOM_FUNCTION
                attach(output, ctx, output_nr)
        result.append(output)
    ctx.output_layouts = tuple(layouts)
    if differentiable > 1:
        for output in result:
            if isinstance(output, tensor_type) and output._view is not None:
                output._view.creation = MULTI_OUTPUT
    return tuple(result)


def _without_history(output: TensorLike, is_input: bool, is_dirty: bool) -> TensorLike:
    if is_input:
        return output if is_dirty and not output._requires_grad else operations.detach(output)
    if output._requires_grad and output._view is None:
        output._grad_fn, output._output_nr, output._requires_grad = None, 0, False
    return output


def _transplant(
    ctx: FunctionNode,
    output: TensorLike,
    output_nr: int,
    arguments: tuple[Any, ...],
    number_of_tensors: int,
) -> None:
    """An input that forward wrote to: the Function becomes the end of its history."""
    if output._requires_grad is True and output._grad_fn is None:
        raise RuntimeError(
            "a leaf Variable that requires grad has been used in an in-place operation."
        )
    tensors = [value for value in arguments if isinstance(value, operations.tensor_type)]
    if not _is_among(output, tensors):
        warnings.warn(
            "Only input Tensors should be given to ctx.mark_dirty(). If a Tensor is not an input, "
            "there is no need to pass it to mark_dirty().",
            stacklevel=4,
        )
    if output._view is not None:
        if number_of_tensors > 1:
            raise RuntimeError(_VIEW_WITH_MANY_OUTPUTS)
        if tensors[0] is not output:
            raise RuntimeError(
                f"{ctx.name()}: the argument that is modified in place is a view and not the first "
                "tensor argument. Make it the first, or clone it."
            )
    output.grad = None
    if output._hooks is not None:
        hooks_of(output).backward = None
    rebase_history(output, ctx, output_nr)


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A backward that is not itself differentiable: differentiating it again is an error."""

    @functools.wraps(function)
    def wrapper(ctx: Any, *arguments: Any) -> Any:
        state = grad_mode_state
        recording, state.enabled = state.enabled, False
        try:
            outputs = function(ctx, *arguments)
        finally:
            state.enabled = recording
        tensor_type = operations.tensor_type
        if not recording or not any(
            isinstance(value, tensor_type) and value._requires_grad for value in arguments
        ):
            return outputs
        values = outputs if isinstance(outputs, tuple) else (outputs,)
        node = DelayedError((), tuple([getattr(value, "_layout", None) for value in values]))
        result: list[Any] = []
        for output_nr, value in enumerate(values):
            if isinstance(value, tensor_type):
                value = operations.detach(value)
                attach(value, node, output_nr)
            result.append(value)
        return tuple(result)

    return wrapper


class DelayedError(Node):
    """Raises when a gradient arrives: something upstream cannot be differentiated."""

    __slots__ = ()

    def apply(self, grads: Gradients) -> Gradients:
        """Raise."""
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
