"""`make_graphed_callables`: functions and modules whose passes are replayed graphs.

The method is PyTorch's (torch/cuda/graphs.py): all forward passes are recorded in order, then all
backward passes in reverse order, in memory that they share; one `autograd.Function` replays both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tritorch.cuda.devices import synchronize
from tritorch.cuda.graphs import CUDAGraph, graph, graph_pool_handle
from tritorch.cuda.streams import Stream, current_stream, stream
from tritorch.tensor import Tensor

if TYPE_CHECKING:
    from tritorch.runtime.cuda.allocator import PoolPair

_NAME = "make_graphed_callables"


def make_graphed_callables(
    callables: Any,
    sample_args: tuple[Any, ...],
    num_warmup_iters: int = 3,
    allow_unused_input: bool = False,
    pool: PoolPair | None = None,
) -> Any:
    """Functions whose forward and backward passes replay recordings.

    A module is changed in place: it replays in the mode (training or not) of the recording, and
    runs as before in the other one. Results and gradients of inputs are overwritten by the next
    call. Gradients of gradients are not recorded.

    Args:
        callables: a function or module of tensors, or a tuple of them in the order of their calls.
        sample_args: the tensors of a call, or a tuple of such tuples, with the shapes, dtypes,
            devices and `requires_grad` that calls will have.
        num_warmup_iters: calls before the recording.
        allow_unused_input: inputs that results do not depend on are no error.
        pool: memory to share with other graphs.

    Returns:
        What replays, for each of `callables`: the modules themselves, or functions.
    Raises:
        RuntimeError: autocast keeps casts, a module has hooks or trainable buffers, or an argument
            is no tensor.
    """
    if not isinstance(callables, tuple):
        return _made((callables,), (sample_args,), num_warmup_iters, allow_unused_input, pool)[0]
    return _made(callables, sample_args, num_warmup_iters, allow_unused_input, pool)


def _made(
    callables: tuple[Any, ...], samples: tuple[Any, ...], warmups: int, unused: bool, pool: Any
) -> tuple[Any, ...]:
    from tritorch.amp import state as amp

    if amp.is_autocast_enabled("cuda") and amp.is_autocast_cache_enabled():
        raise RuntimeError(
            f"{_NAME}: autocast keeps casts of parameters, which a recording would lose. Use "
            "autocast(..., cache_enabled=False)."
        )
    passes = [_Passes(one, tuple(given), unused) for one, given in zip(callables, samples)]
    pool = graph_pool_handle() if pool is None else pool
    side = Stream()
    side.wait_stream(current_stream())
    with stream(side):
        for one in passes:
            for _ in range(warmups):
                one.warm_up()
    synchronize()
    for one in passes:
        one.record_forward(pool)
    for one in reversed(passes):
        one.record_backward(pool)
    return tuple(one.replayed() for one in passes)


class _Passes:
    """One callable's forward and backward pass."""

    def __init__(self, function: Any, samples: tuple[Any, ...], unused: bool) -> None:
        from tritorch.nn import Module

        self.function = function
        self.samples = samples
        self.unused = unused
        arguments = list(_leaves(samples))
        if not all(isinstance(one, Tensor) for one in arguments):
            raise RuntimeError(f"{_NAME}: sample_args may contain tensors only.")
        self.is_module = isinstance(function, Module)
        if self.is_module:
            _check(function)
        self.arguments = len(arguments)
        #: what gradients are asked for: arguments, then parameters
        self.inputs = [*arguments, *(function.parameters() if self.is_module else ())]
        self.forward, self.backward = CUDAGraph(), CUDAGraph()
        self.outputs: list[Any] = []
        self.shape: Any = None
        self.grad_outputs: list[Tensor | None] = []
        self.grad_inputs: list[Tensor | None] = [None] * len(self.inputs)

    def _gradients(self, outputs: list[Any], grad_outputs: list[Any]) -> list[Tensor | None]:
        from tritorch.autograd import grad

        wanted = [one for one in self.inputs if one.requires_grad]
        pairs = [(o, g) for o, g in zip(outputs, grad_outputs) if g is not None]
        if not pairs or not wanted:
            return [None] * len(self.inputs)
        found = iter(
            grad(
                [o for o, _ in pairs], wanted, [g for _, g in pairs], allow_unused=self.unused
            )
        )  # fmt: skip
        return [next(found) if one.requires_grad else None for one in self.inputs]

    @staticmethod
    def _like(outputs: list[Any]) -> list[Tensor | None]:
        from tritorch.ops.creation import zeros_like

        return [
            zeros_like(one) if isinstance(one, Tensor) and one.requires_grad else None
            for one in outputs
        ]

    def warm_up(self) -> None:
        outputs = list(_leaves(self.function(*self.samples)))
        self._gradients(outputs, self._like(outputs))

    def record_forward(self, pool: PoolPair) -> None:
        with graph(self.forward, pool):
            self.shape = self.function(*self.samples)
        self.outputs = list(_leaves(self.shape))

    def record_backward(self, pool: PoolPair) -> None:
        self.grad_outputs = self._like(self.outputs)
        if any(one is not None for one in self.grad_outputs):
            with graph(self.backward, pool):
                self.grad_inputs = self._gradients(self.outputs, self.grad_outputs)

    def replayed(self) -> Any:
        """What replays both passes."""
        from tritorch.autograd import Function
        from tritorch.autograd.function import once_differentiable

        passes = self

        class Graphed(Function):
            @staticmethod
            def forward(ctx: Any, *inputs: Tensor) -> tuple[Any, ...]:
                for place, value in zip(passes.inputs[: passes.arguments], inputs):
                    _put(place.detach(), value)
                passes.forward.replay()
                return tuple(
                    one.detach() if isinstance(one, Tensor) else one for one in passes.outputs
                )

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
                for place, value in zip(passes.grad_outputs, grads):
                    if place is not None:
                        _put(place, value)
                passes.backward.replay()
                return tuple(one if one is None else one.detach() for one in passes.grad_inputs)

        parameters = self.inputs[self.arguments :]

        def call(*values: Any) -> Any:
            given = list(_leaves(values))
            if len(given) != passes.arguments:
                raise RuntimeError(
                    f"{_NAME}: the recording has {passes.arguments} tensors, the call {len(given)}."
                )
            return _rebuilt(passes.shape, iter(Graphed.apply(*given, *parameters)))

        return self._in_module(call) if self.is_module else call

    def _in_module(self, call: Callable[..., Any]) -> Any:
        module, mode, before = self.function, self.function.training, self.function.forward

        def forward(*values: Any) -> Any:
            return call(*values) if module.training == mode else before(*values)

        module.forward = forward
        return module


def _put(place: Tensor, value: Tensor) -> None:
    if place.data_ptr() != value.data_ptr():
        place.copy_(value)


def _check(module: Any) -> None:
    if module._backward_hooks or module._forward_hooks or module._forward_pre_hooks:
        raise RuntimeError(f"{_NAME}: modules must not have hooks yet. Register them afterwards.")
    if any(buffer.requires_grad for buffer in module.buffers()):
        raise RuntimeError(f"{_NAME}: buffers must not require gradients. Make them parameters.")


def _leaves(value: Any) -> Iterator[Any]:
    """What nested tuples, lists and dicts hold, in order."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _rebuilt(shape: Any, leaves: Iterator[Any]) -> Any:
    """The same nesting around other leaves."""
    if isinstance(shape, dict):
        return type(shape)((name, _rebuilt(part, leaves)) for name, part in shape.items())
    if isinstance(shape, (tuple, list)):
        parts = [_rebuilt(part, leaves) for part in shape]
        return type(shape)(*parts) if hasattr(shape, "_fields") else type(shape)(parts)
    return next(leaves)
