"""Recompute in the backward pass instead of keeping what the forward pass made.

Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016; the interface is that of
torch.utils.checkpoint.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import tritorch
from tritorch.amp.autocast_mode import autocast, settings
from tritorch.amp.state import DEVICE_TYPES
from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.ops.random import fork_rng
from tritorch.tensor import Tensor
from tritorch.utils.recomputation import (
    DETERMINISM_CHECKS,
    CheckpointError,
    Frame,
    KeepHooks,
)

__all__ = [
    "CheckpointError", "CheckpointFunction", "checkpoint", "checkpoint_sequential",
    "noop_context_fn", "set_checkpoint_early_stop",
]  # fmt: skip

Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]
_early_stop: bool | None = None


def noop_context_fn() -> Contexts:
    """The contexts of a checkpoint that asks for none."""
    return nullcontext(), nullcontext()


@contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Whether checkpoints made in the block stop recomputing when all is there."""
    global _early_stop
    previous, _early_stop = _early_stop, enable
    try:
        yield
    finally:
        _early_stop = previous


class _Surroundings:
    """What the forward pass ran in: autocast, and the random numbers to come."""

    def __init__(self, preserve_rng_state: bool) -> None:
        self._random = tritorch.get_rng_state() if preserve_rng_state else None
        self._autocast = [settings(device_type) for device_type in DEVICE_TYPES]

    @contextmanager
    def again(self) -> Iterator[None]:
        """The same once more; what follows the block is as if it had not been."""
        with ExitStack() as stack:
            stack.enter_context(fork_rng(enabled=self._random is not None))
            if self._random is not None:
                tritorch.set_rng_state(self._random)
            for autocast_settings in self._autocast:
                stack.enter_context(autocast(**autocast_settings))
            yield


class CheckpointFunction(tritorch.autograd.Function):
    """The re-entrant variant: nothing is recorded, and the backward runs a backward of its own."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        """Run without a record."""
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        if tensors and not any(tensor.requires_grad for tensor in tensors):
            warnings.warn(
                "None of the inputs have requires_grad=True. Gradients will be None", stacklevel=4
            )
        ctx.run_function = run_function
        ctx.surroundings = _Surroundings(preserve)
        ctx.rest = [None if isinstance(arg, Tensor) else arg for arg in args]
        ctx.places = [i for i, arg in enumerate(args) if isinstance(arg, Tensor)]
        ctx.save_for_backward(*tensors)
        with tritorch.no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Run with a record, then backward through it."""
        if grad_mode_state.task.targets is not None:
            raise RuntimeError(
                "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or "
                "passing an `inputs` parameter to .backward(). To resolve this error, you can "
                "either set use_reentrant=False, or call .backward() without passing the `inputs` "
                "argument."
            )
        inputs = list(ctx.rest)
        for place, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
            inputs[place] = tensor.detach().requires_grad_(tensor.requires_grad)
        with ctx.surroundings.again(), tritorch.enable_grad():
            outputs = ctx.run_function(*inputs)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        pairs = [
            (output, grad)
            for output, grad in zip(outputs, grads, strict=True)
            if isinstance(output, Tensor) and output.requires_grad
        ]
        if not pairs:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        reached, weights = zip(*pairs, strict=True)
        tritorch.autograd.backward(reached, weights)
        return None, None, *(i.grad if isinstance(i, Tensor) else None for i in inputs)


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], Contexts] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, of which only the inputs are kept; backward runs it again.

    Args:
        use_reentrant: True runs the function unrecorded and gives it a backward of its own, which
            serves `backward()` without `inputs=` only; False records it, but keeps no tensor.
        context_fn: gives two context managers, for the run and for the second run.
        determinism_check: "default" compares shape, dtype and device of what both runs keep;
            "none" does not.
        debug: name the operations in the message when both runs differ; not supported.
        early_stop: the second run ends as soon as all that is needed is there.
        preserve_rng_state: the second run draws the same random numbers.
    Returns:
        what the function returns.
    Raises:
        CheckpointError: in the backward pass, where the second run differs from the first.

    Example:
        >>> import tritorch as torch
        >>> from tritorch.utils.checkpoint import checkpoint
        >>> x = torch.ones(2, requires_grad=True)
        >>> checkpoint(lambda x: x.exp().log().sum(), x, use_reentrant=False).backward()
        >>> x.grad
        tensor([1., 1.])
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. "
            "Starting in PyTorch 2.9, calling checkpoint without use_reentrant will raise an "
            "exception. use_reentrant=False is recommended, but if you need to preserve the "
            "current default behavior, you can pass use_reentrant=True.",
            stacklevel=2,
        )
        use_reentrant = True
    if debug:
        raise NotImplementedError(
            "checkpoint: debug=True is not supported. Compare what the function does in both runs "
            "by prints in it."
        )
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn:
            raise ValueError(
                "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
            )
        return CheckpointFunction.apply(function, preserve_rng_state, *args)
    if determinism_check not in DETERMINISM_CHECKS:
        raise ValueError(
            f"determinism_check should be one of {list(DETERMINISM_CHECKS)} but got "
            f"{determinism_check}"
        )
    first, second = context_fn()
    if not grad_mode_state.enabled:
        return function(*args, **kwargs)
    surroundings = _Surroundings(preserve_rng_state)

    def again(*inputs: Any) -> None:
        with surroundings.again(), second:
            function(*inputs, **kwargs)

    stop = early_stop if _early_stop is None else _early_stop
    frame = Frame(again, args, stop, DETERMINISM_CHECKS[determinism_check])
    with KeepHooks(frame), first:
        result = function(*args, **kwargs)
    frame.forward_completed = True
    return result


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:
    """Run functions one after the other, with a checkpoint for each of `segments` - 1 parts.

    Args:
        functions: `nn.Sequential`, or a list of modules or functions of one argument.
        segments: in how many parts to divide them; the last one keeps what it makes.
        input: of the first.
        use_reentrant, preserve_rng_state: as for `checkpoint`.
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be "
            "passed explicitly. In version 2.9 we will raise an exception if use_reentrant is not "
            "passed. use_reentrant=False is recommended.",
            stacklevel=2,
        )
        use_reentrant = True
    if isinstance(functions, tritorch.nn.Sequential):
        functions = list(functions.children())

    def part(chosen: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
        def run(value: Any) -> Any:
            for function in chosen:
                value = function(value)
            return value

        return run

    size = len(functions) // segments
    done = size * (segments - 1)
    for start in range(0, done, size) if size else ():
        input = checkpoint(
            part(functions[start : start + size]),
            input,
            use_reentrant=use_reentrant,
            preserve_rng_state=preserve_rng_state,
        )
    return part(functions[done:])(input)
