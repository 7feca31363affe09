"""What the graph knows of a tensor: these attributes, and a table of operations filled at import.

The graph never imports `Tensor`. The Tensor room gives its class the slots below and registers the
operations once with `operations.register(...)`. Everything else stays its own business.

Slots the graph reads and writes (a fresh tensor has the value in brackets):

`_requires_grad` [False]
    True for a leaf that wants a gradient and for every tensor with a `_grad_fn`. For a view whose
    base did not require a gradient when the view was made it is the view's `ViewInfo`, whose truth
    value is that of the base *now* (an in-place operation may give the base a history later). So
    hot code tests truth, `if x._requires_grad or y._requires_grad:`, and the public property is
    `bool(self._requires_grad)`. A leaf's flag is set by assigning True or False.
`_grad_fn` [None]
    The node that made it, None for a leaf. For a view it may be out of date after in-place
    operations on its base: the public property `grad_fn` is `inplace.grad_fn(self)`; ops use
    `edge(self)`, which minds it too.
`_output_nr` [0]
    Which output of `_grad_fn` it is.
`grad` [None]
    The accumulated gradient of a leaf, or of a tensor with `retain_grad()`.
`_view` [None]
    `views.ViewInfo(base, version, creation)` of a differentiable view, set by `views.as_view`.
    The public `_base` is `self._view.base` or None. `detach()` makes no differentiable view.
`_hooks` [None]
    `hooks.TensorHooks`, made when first needed: tensor hooks, post-accumulate hooks, whether the
    gradient is retained, the leaf's `AccumulateGrad` (weak).
`__weakref__`
    Tensors can be referred to weakly.

Read only:

`_layout`
    `.shape`, `.strides`, `.dtype`, `.device`, `.is_dense`; one object for all tensors of a kind,
    which makes checking a gradient one comparison of identity.
`_storage`
    One per memory, shared by views and by `detach()`; `.version` is an int that counts in-place
    changes. An in-place operation does `tensor._storage.version += 1` after it wrote.
`storage_offset()`
    Elements from the start of the storage.

How an operation records itself (the fast way; about a microsecond for two inputs):

    from tritorch.autograd import edge, grad_mode_state as mode      # once, at import

    out = ...                                             # computed, a fresh tensor
    if (x._requires_grad or y._requires_grad) and mode.enabled:
        node = MulBackward0((edge(x), edge(y)), plan.outputs)   # edges; layouts of the outputs
        node.save(x, y)                                   # inputs; versions are noted
        out._grad_fn = node                               # or inplace.attach(out, node, nr)
        out._requires_grad = True
        # node.save_outputs(out)                          # own outputs, after attaching: no circle

The test of `_requires_grad` comes first: `mode.enabled` is thread-local and costs five slot reads.
`edge(x)` is `(None, 0)` for an input that wants no gradient; the node's `apply` skips such inputs
(`self.next_functions[i][0] is None`, or `self.needs(i)` which also minds `inputs=`).

    class MulBackward0(Node):
        __slots__ = ()

        def apply(self, grads):                           # one per output, None where nothing came
            (g,) = grads
            x, y = self.unpack()                          # inputs, then outputs; checks versions
            return (mul(g, y) if self.needs(0) else None, mul(g, x) if self.needs(1) else None)

`apply` is not called when every gradient is None. It runs with grad mode on only under
`create_graph=True`. A gradient may have a shape that broadcasts from the input's or another
floating dtype: the engine sums and casts it, as PyTorch's does. An output that is not
differentiable is simply never attached.

In-place operations:

    inplace.check_inplace(x, others_require_grad)         # before writing; raises PyTorch's errors
    node = ... edges from `edge(x)` and save(...), all before writing (x's old history) ...
    ... write ...; x._storage.version += 1
    inplace.rebase_history(x, node)                       # also the base, where x is a view
    # node.save_outputs(x) after the version was bumped and after rebase_history

Views: `views.as_view(view, source)` always (also under no_grad), and attach the node as usual.
Views from one call with several outputs pass `views.MULTI_OUTPUT`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: A tensor, known by protocol only.
TensorLike = Any


class Operations:
    """The tensor operations that the graph itself needs; registered once by the Tensor room.

    Differentiable (they record themselves while grad mode is on):
        `add(a, b)`; `clone(t)`; `sum_to_size(t, shape)`; `to_dtype(t, dtype)`;
        `to_device(t, device)`: a copy there;
        `as_strided(t, size, stride, storage_offset)`: a view, offset counted from the storage;
        `copy_(target, source)`: in place, minding history as any in-place operation;
        `restride(t, shape, strides)`: a copy of t in a new buffer with these strides;
        `stack(tensors)`: along a new first dimension.
    Not differentiable:
        `accumulate(a, b)`: a += b in the memory of a, no history, no checks (engine-owned buffers);
        `ones_like(t)`; `zeros(layout)`: dense zeros of a layout's shape, dtype and device;
        `detach(t)`: a fresh leaf on the same storage (same version counter), requires no gradient;
        `has_nan(t) -> bool`.
    And `tensor_type`, the class, for `isinstance`.
    """

    __slots__ = (
        "accumulate", "add", "as_strided", "clone", "copy_", "detach", "has_nan", "ones_like",
        "restride", "stack", "sum_to_size", "tensor_type", "to_device", "to_dtype", "zeros",
    )  # fmt: skip

    add: Callable[[TensorLike, TensorLike], TensorLike]
    accumulate: Callable[[TensorLike, TensorLike], None]
    clone: Callable[[TensorLike], TensorLike]
    detach: Callable[[TensorLike], TensorLike]
    ones_like: Callable[[TensorLike], TensorLike]
    zeros: Callable[[Any], TensorLike]
    sum_to_size: Callable[[TensorLike, tuple[int, ...]], TensorLike]
    to_dtype: Callable[[TensorLike, Any], TensorLike]
    to_device: Callable[[TensorLike, Any], TensorLike]
    as_strided: Callable[[TensorLike, tuple[int, ...], tuple[int, ...], int], TensorLike]
    restride: Callable[[TensorLike, tuple[int, ...], tuple[int, ...]], TensorLike]
    stack: Callable[[list[TensorLike]], TensorLike]
    copy_: Callable[[TensorLike, TensorLike], TensorLike]
    has_nan: Callable[[TensorLike], bool]
    tensor_type: Any

    def register(self, **operations: Any) -> None:
        """Fill the table; names outside it are an error."""
        for name, operation in operations.items():
            if name not in Operations.__slots__:
                raise TypeError(
                    f"register: {name!r} is not an operation that the graph needs. "
                    f"Known: {', '.join(Operations.__slots__)}."
                )
            setattr(self, name, operation)


operations = Operations()
