"""The backward pass: a queue of nodes whose gradients are complete, latest recorded first.

No recursion: a graph may be as deep as memory allows. A node runs when every consumer that takes
part has delivered; among those that are ready the highest sequence number goes first, which is
the reverse of the order of the forward pass.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from heapq import heappop, heappush, heapreplace
from sys import getrefcount
from typing import Any

from tritorch.autograd.anomaly import anomaly, check_for_nan, warn_of_forward
from tritorch.autograd.grad_mode import grad_mode_state
from tritorch.autograd.node import AccumulateGrad, Edge, Node, restricted_runs
from tritorch.autograd.protocol import TensorLike, operations

# A backward inside a backward uses Python's stack; beyond this many it gets a thread of its own.
_NESTING_PER_THREAD = 40


class GraphTask:
    """One run of the engine.

    Args:
        retain_graph: nodes keep what they saved.
        create_graph: the backward pass is itself recorded.
        targets: edges whose gradients are asked for; None for all leaves.
        capture: return the targets' gradients; otherwise they are accumulated.
    """

    __slots__ = (
        "__weakref__", "callbacks", "captured", "captures", "create_graph", "needed", "relevant",
        "remaining", "retain_graph", "targets",
    )  # fmt: skip

    def __init__(
        self,
        retain_graph: bool,
        create_graph: bool,
        targets: Sequence[Edge] | None = None,
        capture: bool = False,
    ) -> None:
        self.retain_graph = retain_graph
        self.create_graph = create_graph
        self.targets = targets
        #: node -> (output number, index among the targets) of the gradients to return
        self.captures: dict[Node, list[tuple[int, int]]] = {}
        self.captured: list[TensorLike | None] = [None] * len(targets or ())
        #: nodes to evaluate, and those with the nodes whose gradients are captured; None: all
        self.needed: set[Node] | None = None
        self.relevant: set[Node] | None = None
        #: every node that takes part, with how many consumers have yet to deliver to it
        self.remaining: dict[Node, int] = {}
        self.callbacks: list[Callable[[], Any]] = []
        if targets is not None and capture:
            for index, (node, output_nr) in enumerate(targets):
                if node is not None:
                    self.captures.setdefault(node, []).append((output_nr, index))

    def dependencies(self, roots: Sequence[Node]) -> dict[Node, int]:
        """How many consumers of each node will deliver a gradient to it."""
        counts = dict.fromkeys(roots, 0)
        stack = list(counts)
        pop, push = stack.pop, stack.append
        while stack:
            for following, _ in pop().next_functions:
                if following is not None:
                    if following in counts:
                        counts[following] += 1
                    else:
                        counts[following] = 1
                        push(following)
        return counts if self.targets is None else self._restricted(counts)

    def _restricted(self, reached: dict[Node, int]) -> dict[Node, int]:
        """Only the nodes from which a target can be reached take part."""
        consumers: dict[Node, list[Node]] = {}
        for node in reached:
            for following, _ in node.next_functions:
                if following is not None:
                    consumers.setdefault(following, []).append(node)
        assert self.targets is not None
        goals = [node for node, _ in self.targets if node is not None and node in reached]
        needed: set[Node] = set() if self.captures else set(goals)
        stack = list(goals)
        while stack:
            for consumer in consumers.get(stack.pop(), ()):
                if consumer not in needed:
                    needed.add(consumer)
                    stack.append(consumer)
        self.needed = needed
        self.relevant = needed.union(goals)
        counts = dict.fromkeys(self.relevant, 0)
        for node in needed:
            for following, _ in node.next_functions:
                if following in counts:
                    counts[following] += 1
        return counts


def run_backward(
    task: GraphTask, roots: Sequence[Edge], gradients: Sequence[TensorLike | None]
) -> list[TensorLike | None]:
    """Evaluate the graph from these roots; the captured gradients, None where nothing arrived.

    Args:
        task: what is wanted.
        roots: edges of the outputs.
        gradients: of the outputs.
    """
    state = grad_mode_state
    if state.depth and state.depth % _NESTING_PER_THREAD == 0:
        return _on_fresh_stack(task, roots, gradients)
    previous = (state.enabled, state.task, state.node)
    state.enabled = task.create_graph and not state.inference
    state.task = task
    state.depth += 1
    try:
        if task.targets is None:
            _evaluate(task, roots, gradients)
        else:
            with restricted_runs:
                _evaluate(task, roots, gradients)
        for callback in task.callbacks:
            callback()
    finally:
        state.enabled, state.task, state.node = previous
        state.depth -= 1
    return task.captured


def _on_fresh_stack(
    task: GraphTask, roots: Sequence[Edge], gradients: Sequence[TensorLike | None]
) -> list[TensorLike | None]:
    """Run in another thread, as if in this one."""
    here = grad_mode_state
    inherited = {
        name: getattr(here, name)
        for name in ("inference", "saved_tensor_hooks", "saved_tensor_hooks_disabled", "node")
    }
    failure: list[BaseException] = []

    def work() -> None:
        for name, value in inherited.items():
            setattr(grad_mode_state, name, value)
        try:
            run_backward(task, roots, gradients)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="tritorch-backward")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return task.captured


def _evaluate(
    task: GraphTask, roots: Sequence[Edge], gradients: Sequence[TensorLike | None]
) -> None:
    root_nodes = [node for node, _ in roots if node is not None]
    remaining = task.remaining = task.dependencies(root_nodes)
    restricted = task.relevant is not None
    keep = task.retain_graph
    recording = task.create_graph
    buffers: dict[Node, list[TensorLike | None]] = {}
    ready: list[tuple[int, Node]] = []

    for index, ((root, output_nr), gradient) in enumerate(zip(roots, gradients)):
        if root is None or root not in remaining:
            continue
        if gradient is not None:
            gradient = validated(gradient, root.output_layouts[output_nr], index, None)
        _deliver(buffers, root, output_nr, gradient, recording)
    for root in dict.fromkeys(root_nodes):
        if remaining.get(root) == 0:
            heappush(ready, (-root.sequence_nr, root))

    node: Node | None = None
    # The first node that a delivery completed need not go through the queue.
    upcoming: Node | None = None
    outgoing: Any = None
    gradient = None
    try:
        while True:
            if upcoming is None:
                if not ready:
                    break
                node = heappop(ready)[1]
            else:
                node, upcoming = upcoming, None
                if ready and ready[0][0] < -node.sequence_nr:
                    node = heapreplace(ready, (-node.sequence_nr, node))[1]
            buffer = buffers.pop(node)
            if restricted and not _captured(task, node, buffer):
                continue
            if node.__class__ is AccumulateGrad:
                hooks = node.variable._hooks
                if hooks is not None and hooks.backward:
                    call_tensor_hooks(hooks.backward, buffer, 0)
                if node._extras is None:
                    node.accumulate(buffer)
                    continue
            if node._extras is None and not anomaly.enabled:
                incoming = tuple(buffer)
                del buffer
                if node.wants_undefined or _any_defined(incoming):
                    outgoing = node.apply(incoming)
                else:
                    outgoing = (None,) * len(node.next_functions)
                del incoming
            else:
                outgoing = _apply_with_extras(node, buffer)
            if not keep:
                node.release()
            following_edges = node.next_functions
            if len(outgoing) != len(following_edges):
                raise RuntimeError(
                    f"Function {node.name()} returned an incorrect number of gradients (expected "
                    f"{len(following_edges)}, got {len(outgoing)})"
                )
            for gradient, (following, output_nr) in zip(outgoing, following_edges):
                if following is None or (restricted and following not in remaining):
                    continue
                if gradient is not None:
                    layout = following.output_layouts[output_nr]
                    if gradient._layout is not layout and not (
                        following.takes_narrow
                        and not (restricted or recording)
                        and remaining[following] == 1
                        and following not in buffers
                        and _differs_in_width(gradient, layout)
                        and following._extras is None
                    ):
                        gradient = validated(gradient, layout, _index(outgoing, gradient), node)
                known = buffers.get(following)
                if known is None:
                    if len(following.output_layouts) == 1:
                        buffers[following] = [gradient]
                    else:
                        known = buffers[following] = [None] * len(following.output_layouts)
                        known[output_nr] = gradient
                elif gradient is not None:
                    if known[output_nr] is None:
                        known[output_nr] = gradient
                    else:
                        _accumulate(known, output_nr, gradient, recording)
                count = remaining[following] - 1
                if count:
                    remaining[following] = count
                elif upcoming is None:
                    upcoming = following
                else:
                    heappush(ready, (-following.sequence_nr, following))
            # The buffers now hold the only references: what is safe to write to depends on it.
            outgoing = gradient = None
    except BaseException:
        if anomaly.enabled and node is not None:
            warn_of_forward(node)
        raise


def _differs_in_width(gradient: TensorLike, layout: Any) -> bool:
    """Whether a gradient is what is wanted but for a narrower floating type."""
    given = gradient._layout
    return (
        given.shape == layout.shape
        and given.device is layout.device
        and given.dtype.is_floating_point
        and given.dtype.itemsize < layout.dtype.itemsize
    )


def _any_defined(gradients: tuple[TensorLike | None, ...]) -> bool:
    # Not `in` or `count`: they would compare tensors.
    for gradient in gradients:  # noqa: SIM110
        if gradient is not None:
            return True
    return False


def _index(gradients: Sequence[TensorLike | None], gradient: TensorLike) -> int:
    return next(index for index, each in enumerate(gradients) if each is gradient)


def _deliver(
    buffers: dict[Node, list[TensorLike | None]],
    node: Node,
    output_nr: int,
    gradient: TensorLike | None,
    recording: bool,
) -> None:
    buffer = buffers.get(node)
    if buffer is None:
        buffer = buffers[node] = [None] * len(node.output_layouts)
    if gradient is None:
        return
    if buffer[output_nr] is None:
        buffer[output_nr] = gradient
    else:
        _accumulate(buffer, output_nr, gradient, recording)


def _accumulate(
    buffer: list[TensorLike | None], output_nr: int, gradient: TensorLike, recording: bool
) -> None:
    """Add to a gradient that arrived before: in its memory if nobody else can see that."""
    present = buffer[output_nr]
    # References: the list, `present`, the argument; its own, the argument.
    if (
        not recording
        and getrefcount(present) == 3
        and getrefcount(present._storage) == 2  # type: ignore[union-attr]
        and present._layout.is_dense  # type: ignore[union-attr]
    ):
        operations.accumulate(present, gradient)
    else:
        buffer[output_nr] = operations.add(present, gradient)


def validated(gradient: TensorLike, layout: Any, index: int, node: Node | None) -> TensorLike:
    """A gradient in the shape and dtype of what it is the gradient of.

    Args:
        gradient: what a node returned.
        layout: of the tensor it is for.
        index: which of the node's gradients.
        node: for the message; None for the gradient that backward was called with.
    """
    who = (
        "invalid gradient"
        if node is None
        else f"Function {node.name()} returned an invalid gradient"
    )
    if not isinstance(gradient, operations.tensor_type):
        raise TypeError(
            f"{who} at index {index} - expected Tensor or None but got {type(gradient).__name__}"
        )
    given = gradient._layout
    if given is layout:
        return gradient
    if given.device != layout.device and layout.shape:
        raise RuntimeError(
            f"{who} at index {index} - expected device {layout.device} but got {given.device}"
        )
    if given.shape != layout.shape:
        if not is_expandable(layout.shape, given.shape):
            raise RuntimeError(
                f"{who} at index {index} - got {list(given.shape)} but expected shape compatible "
                f"with {list(layout.shape)}"
            )
        gradient = operations.sum_to_size(gradient, layout.shape)
    if given.dtype is not layout.dtype:
        gradient = operations.to_dtype(gradient, layout.dtype)
    if given.device != layout.device:  # of a number that was on the CPU
        gradient = operations.to_device(gradient, layout.device)
    return gradient


def is_expandable(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether a tensor of one shape broadcasts to another."""
    return len(shape) <= len(to) and all(
        size in (1, target) for size, target in zip(reversed(shape), reversed(to))
    )


def _captured(task: GraphTask, node: Node, buffer: list[TensorLike | None]) -> bool:
    """Note the gradients of this node that were asked for; whether it is to be evaluated too."""
    assert task.needed is not None
    needed = node in task.needed
    wanted = task.captures.get(node)
    if wanted is not None:
        # As in PyTorch: the hooks of a tensor run once, and before its gradient is captured only
        # where the node itself is not evaluated.
        if not needed:
            _call_all_tensor_hooks(node, buffer)
        for output_nr, index in wanted:
            task.captured[index] = buffer[output_nr]
    return needed


def call_tensor_hooks(
    hooks: dict[int, Any], buffer: list[TensorLike | None], output_nr: int
) -> None:
    """Let each hook see the gradient and perhaps replace it."""
    for hook in tuple(hooks.values()):
        before = buffer[output_nr]
        after = hook(before)
        if after is not None:
            if not isinstance(after, operations.tensor_type):
                raise TypeError(
                    f"hook: a tensor hook must return a Tensor or None, got {type(after).__name__}"
                )
            if before is not None:
                _check_replacement(before, after)
            buffer[output_nr] = after


def _check_replacement(before: TensorLike, after: TensorLike) -> None:
    if before._layout.dtype is not after._layout.dtype:
        raise RuntimeError("hook has changed the type of value")
    if before._layout.device != after._layout.device:
        raise RuntimeError("hook has changed the device of value")
    if before._layout.shape != after._layout.shape:
        raise RuntimeError("hook has changed the size of value")


def _call_all_tensor_hooks(node: Node, buffer: list[TensorLike | None]) -> None:
    if isinstance(node, AccumulateGrad):
        hooks = node.variable._hooks
        if hooks is not None and hooks.backward:
            call_tensor_hooks(hooks.backward, buffer, 0)
        return
    extras = node._extras
    if extras is None:
        return
    for output_nr, tensor_hooks in extras.tensor_hooks or ():
        call_tensor_hooks(tensor_hooks, buffer, output_nr)
    for output_nr, reference in tuple((extras.retained or {}).items()):
        tensor, gradient = reference(), buffer[output_nr]
        if tensor is not None and gradient is not None:
            present = tensor.grad
            tensor.grad = (
                operations.clone(gradient) if present is None else operations.add(present, gradient)
            )


def _apply_with_extras(node: Node, buffer: list[TensorLike | None]) -> Any:
    """Evaluate a node with its hooks, or in anomaly mode."""
    extras = node._extras
    leaf = isinstance(node, AccumulateGrad)
    if not leaf:
        _call_all_tensor_hooks(node, buffer)
    incoming = tuple(buffer)
    for hook in _hooks(extras.pre_hooks if extras else None):
        replaced = hook(incoming)
        if replaced is not None:
            incoming = _checked(incoming, replaced)
    grad_mode_state.node = node if anomaly.enabled else None
    if all(gradient is None for gradient in incoming) and not node.wants_undefined:
        outgoing: Any = (None,) * len(node.next_functions)
    else:
        outgoing = node.apply(incoming)
    post_hooks = _hooks(extras.post_hooks if extras else None)
    if post_hooks:
        outgoing = tuple(
            gradient
            if gradient is None or following is None
            else validated(gradient, following.output_layouts[output_nr], index, node)
            for index, (gradient, (following, output_nr)) in enumerate(
                zip(outgoing, node.next_functions)
            )
        )
        for hook in post_hooks:
            replaced = hook(outgoing, incoming)
            if replaced is not None:
                outgoing = _checked(outgoing, replaced)
    if anomaly.enabled and anomaly.check_nan:
        check_for_nan(node, outgoing, operations.has_nan)
    return outgoing


def _hooks(registered: dict[int, Any] | None) -> tuple[Any, ...]:
    return tuple(registered.values()) if registered else ()


def _checked(before: tuple[Any, ...], after: Any) -> tuple[Any, ...]:
    """What a node hook returned, as a tuple of as many gradients."""
    replaced = after if isinstance(after, tuple) else (after,)
    if len(replaced) != len(before):
        raise RuntimeError(
            f"hook has returned an incorrect number of values (got {len(replaced)}, but expected "
            f"{len(before)})"
        )
    for old, new in zip(before, replaced):
        if old is not None and new is not None:
            _check_replacement(old, new)
    return replaced


def queue_callback(callback: Callable[[], Any]) -> None:
    """Call it when the backward pass that is under way in this thread ends without an error."""
    task = grad_mode_state.task
    if task is None:
        raise RuntimeError("Final callbacks can only be installed during backward pass.")
    task.callbacks.append(callback)
