"""What to run each of the library's kernels on: sizes in, a call that launches it out.

A problem is named by its kernel; `problems` finds them. Its sizes have the names and defaults given
here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tritorch as torch
from tritorch import dtypes
from tritorch.errors import TuneError
from tritorch.kernels.templates import attention as _attention_kernels  # noqa: F401  (registers)
from tritorch.ops.declare import OPS, OpInfo
from tritorch.tensor import Tensor

Sizes = Mapping[str, Any]
#: elements that a workload works on where its sizes leave that open: beyond the caches
_ELEMENTS = 1 << 21


@dataclass
class Workload:
    """One kernel's work on given inputs.

    Attributes:
        inputs: tensors, not written by `call`.
        call: inputs -> results; launches the kernel (and perhaps others).
        prepare: inputs -> what `call` gets in their place, outside the timing (for gradients).
        moved, operations: of one call, for GB/s and GFLOP/s.
    """

    inputs: list[Tensor]
    call: Callable[..., Sequence[Tensor]]
    prepare: Callable[..., Sequence[Any]] | None = None
    moved: float = 0.0
    operations: float = 0.0


@dataclass(frozen=True)
class Problem:
    """How to make a workload of a kernel.

    Attributes:
        sizes: name -> default; booleans are flags.
        build: sizes and a dtype -> the workload.
        kinds: dtypes it is for; the first is the default.
        device: the only type of device that runs this kernel; None: any.
    """

    kernel: str
    sizes: dict[str, Any]
    build: Callable[..., Workload]
    kinds: tuple[str, ...] = ("float32", "bfloat16", "float16", "float64")
    device: str | None = None


PROBLEMS: dict[str, Problem] = {}


def _problem(
    *kernels: str, kinds: Sequence[str] | None = None, device: str | None = None, **sizes: Any
) -> Callable[[Callable[..., Workload]], Callable[..., Workload]]:
    """Declare the function below as the problem of these kernels."""

    def declare(build: Callable[..., Workload]) -> Callable[..., Workload]:
        for kernel in kernels:
            extra = {"kinds": tuple(kinds)} if kinds else {}
            PROBLEMS[kernel] = Problem(kernel, sizes, build, device=device, **extra)
        return build

    return declare


def _random(*shape: int, dtype: Any, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)
    return torch.randint(-8, 8, shape, generator=generator).to(dtype)


def _places(count: int, *shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, count, shape, generator=torch.Generator().manual_seed(seed))


def _rows(n_cols: int) -> int:
    return max(_ELEMENTS // n_cols, 1)


def _gradient(forward: Callable[..., Tensor], wanted: int) -> dict[str, Any]:
    """`prepare` and `call` of a workload that times the backward of the first `wanted` inputs."""

    def prepare(*inputs: Tensor) -> Sequence[Any]:
        leaves = [
            x.detach().requires_grad_() if i < wanted else x for i, x in enumerate(inputs[:-1])
        ]
        return [forward(*leaves), leaves[:wanted], inputs[-1]]

    def call(y: Tensor, leaves: list[Tensor], g: Tensor) -> Sequence[Tensor]:
        found: Any = torch.autograd.grad(y, leaves, g, retain_graph=True)
        return list(found)

    return {"prepare": prepare, "call": call}


# ---- generated kernels: the operation is one of the sizes


def _declared(name: str) -> OpInfo:
    """A declared operation that takes one kind of kernel.

    Raises:
        TuneError: there is none of this name.
    """
    for op in OPS:
        if op.name == name:
            return op
    near = difflib.get_close_matches(name, [op.name for op in OPS], 3, 0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise TuneError(f"tune: no operation {name!r}.{hint}")


@_problem("pointwise", operation="gelu", numel=_ELEMENTS)
def _pointwise(operation: str, numel: int, dtype: Any) -> Workload:
    op = _declared(operation)
    if op.kind != "pointwise":
        raise TuneError(f"tune: {operation} is a {op.kind}, not pointwise.")
    inputs = [_within(op, (numel,), dtype, i) for i in range(op.operands)]
    return Workload(
        inputs, lambda *x: [op.function(*x)], moved=(op.operands + 1) * numel * dtype.itemsize
    )


def _within(op: OpInfo, shape: tuple[int, ...], dtype: Any, seed: int) -> Tensor:
    """Numbers of an operation's domain."""
    generator = torch.Generator().manual_seed(seed)
    if not dtype.is_floating_point or op.promote == "integral":
        kind = torch.int32 if dtype.is_floating_point else dtype
        return torch.randint(1, 8, shape, generator=generator).to(kind)
    return torch.rand(shape, generator=generator).mul(op.high - op.low).add(op.low).to(dtype)


@_problem("reduction_rows", operation="sum", kept=2048, reduced=1024)
def _reduction_rows(operation: str, kept: int, reduced: int, dtype: Any) -> Workload:
    return _reduction(operation, (kept, reduced), 1, dtype)


@_problem("scan_rows", operation="cumsum", kept=2048, reduced=1024)
def _scan_rows(operation: str, kept: int, reduced: int, dtype: Any) -> Workload:
    return _reduction(operation, (kept, reduced), 1, dtype)


@_problem("reduction_columns", operation="sum", kept=1024, reduced=2048)
def _reduction_columns(operation: str, kept: int, reduced: int, dtype: Any) -> Workload:
    return _reduction(operation, (reduced, kept), 0, dtype)


def _reduction(operation: str, shape: tuple[int, int], dim: int, dtype: Any) -> Workload:
    op = _declared(operation)
    if op.kind not in ("reduction", "scan"):
        raise TuneError(f"tune: {operation} is a {op.kind}, neither reduction nor scan.")
    x = _within(op, shape, dtype, 0)

    def call(x: Tensor) -> list[Tensor]:
        found = op.function(x, dim)
        return [found] if isinstance(found, Tensor) else list(found)

    return Workload([x], call, moved=x.nbytes * (2 if op.kind == "scan" else 1))


# ---- products


@_problem(
    "matmul_tile", kinds=("float32", "bfloat16", "float16", "float64", "int8"),
    m=1024, n=1024, k=1024, batch=1, a_turned=False, b_turned=False,
)  # fmt: skip
def _matmul(
    m: int, n: int, k: int, batch: int, a_turned: bool, b_turned: bool, dtype: Any
) -> Workload:
    a = _random(*((batch, k, m) if a_turned else (batch, m, k)), dtype=dtype)
    b = _random(*((batch, n, k) if b_turned else (batch, k, n)), dtype=dtype, seed=1)
    a, b = (a.mT if a_turned else a), (b.mT if b_turned else b)
    if batch == 1:
        a, b = a[0], b[0]
    whole = dtype is dtypes.int8

    def call(a: Tensor, b: Tensor) -> Sequence[Tensor]:
        return [torch._int_mm(a, b) if whole and a.dtype is dtypes.int8 else torch.matmul(a, b)]

    size = dtype.itemsize
    return Workload(
        [a, b], call, moved=batch * (m * k + k * n + m * n) * size, operations=2 * batch * m * n * k
    )


@_problem("matmul_integer", kinds=("int32", "int64", "int16", "uint8"), m=256, n=256, k=256)
def _matmul_integer(m: int, n: int, k: int, dtype: Any) -> Workload:
    a, b = _random(m, k, dtype=dtype), _random(k, n, dtype=dtype, seed=1)
    size = dtype.itemsize
    return Workload(
        [a, b],
        lambda a, b: [a @ b],
        moved=(m * k + k * n + m * n) * size,
        operations=2 * m * n * k,
    )


@_problem("matrix_vector_rows", m=2048, k=2048)
def _matrix_vector(m: int, k: int, dtype: Any) -> Workload:
    a, x = _random(m, k, dtype=dtype), _random(k, dtype=dtype, seed=1)
    return Workload(
        [a, x], lambda a, x: [a @ x], moved=(m * k + m + k) * dtype.itemsize, operations=2 * m * k
    )


@_problem("matrix_vector_columns", m=2048, k=2048)
def _vector_matrix(m: int, k: int, dtype: Any) -> Workload:
    a, x = _random(k, m, dtype=dtype).t(), _random(k, dtype=dtype, seed=1)
    return Workload(
        [a, x], lambda a, x: [a @ x], moved=(m * k + m + k) * dtype.itemsize, operations=2 * m * k
    )


# ---- rows


@_problem("softmax_rows", n_cols=1024)
def _softmax(n_cols: int, dtype: Any) -> Workload:
    x = _random(_rows(n_cols), n_cols, dtype=dtype)
    return Workload([x], lambda x: [torch.softmax(x, -1)], moved=2 * x.nbytes)


@_problem("softmax_columns", n_cols=64, n_inner=1024)
def _softmax_columns(n_cols: int, n_inner: int, dtype: Any) -> Workload:
    x = _random(max(_ELEMENTS // (n_cols * n_inner), 1), n_cols, n_inner, dtype=dtype)
    return Workload([x], lambda x: [torch.softmax(x, 1)], moved=2 * x.nbytes)


@_problem("softmax_rows_backward", n_cols=1024)
def _softmax_backward(n_cols: int, dtype: Any) -> Workload:
    x = _random(_rows(n_cols), n_cols, dtype=dtype)
    g = _random(*x.shape, dtype=dtype, seed=1)
    return Workload([x, g], **_gradient(lambda x: torch.softmax(x, -1), 1), moved=3 * x.nbytes)


@_problem("softmax_columns_backward", n_cols=64, n_inner=1024)
def _softmax_columns_backward(n_cols: int, n_inner: int, dtype: Any) -> Workload:
    x = _random(max(_ELEMENTS // (n_cols * n_inner), 1), n_cols, n_inner, dtype=dtype)
    g = _random(*x.shape, dtype=dtype, seed=1)
    return Workload([x, g], **_gradient(lambda x: torch.softmax(x, 1), 1), moved=3 * x.nbytes)


def _layer_norm(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(x, w.shape, w, b)


@_problem("norm_rows", n_cols=1024)
def _norm(n_cols: int, dtype: Any) -> Workload:
    x, w, b = (_random(*s, dtype=dtype) for s in ((_rows(n_cols), n_cols), (n_cols,), (n_cols,)))
    return Workload([x, w, b], lambda *a: [_layer_norm(*a)], moved=2 * x.nbytes)


@_problem("norm_rows_backward", "add_groups", n_cols=1024)
def _norm_backward(n_cols: int, dtype: Any) -> Workload:
    x, w, b = (_random(*s, dtype=dtype) for s in ((_rows(n_cols), n_cols), (n_cols,), (n_cols,)))
    g = _random(*x.shape, dtype=dtype, seed=1)
    return Workload([x, w, b, g], **_gradient(_layer_norm, 3), moved=3 * x.nbytes)


@_problem("cross_entropy_rows", n_classes=8192)
def _cross_entropy(n_classes: int, dtype: Any) -> Workload:
    x = _random(_rows(n_classes), n_classes, dtype=dtype)
    target = _places(n_classes, x.shape[0])
    return Workload(
        [x, target], lambda x, t: [torch.nn.functional.cross_entropy(x, t)], moved=x.nbytes
    )


@_problem("cross_entropy_rows_backward", n_classes=8192)
def _cross_entropy_backward(n_classes: int, dtype: Any) -> Workload:
    x = _random(_rows(n_classes), n_classes, dtype=dtype)
    inputs = [x, _places(n_classes, x.shape[0]), _random(dtype=dtype)]
    return Workload(inputs, **_gradient(torch.nn.functional.cross_entropy, 1), moved=2 * x.nbytes)


@_problem("reduce_losses", n_rows=1 << 20)
def _reduce_losses(n_rows: int, dtype: Any) -> Workload:
    x, target = _random(n_rows, 2, dtype=dtype), _places(2, n_rows)
    return Workload(
        [x, target], lambda x, t: [torch.nn.functional.cross_entropy(x, t)], moved=2 * x.nbytes
    )


@_problem(
    "radix_sort_rows", device="cpu", kinds=("float32", "int32", "int64", "float64"), n_cols=65_536
)
@_problem("sort_rows", device="cuda", kinds=("float32", "int32", "int64", "float64"), n_cols=4096)
@_problem("radix_scatter", device="cuda", kinds=("float32", "int64", "bfloat16"), n_cols=1 << 20)
def _sort(n_cols: int, dtype: Any) -> Workload:
    x = _random(max(_ELEMENTS // 4 // n_cols, 1), n_cols, dtype=dtype)
    # Positions of equal elements are part of the result: the sort is stable.
    return Workload(
        [x], lambda x: list(torch.sort(x, -1, stable=True)), moved=x.nbytes * 2 + x.numel() * 8
    )


@_problem("topk_part", device="cuda", kinds=("float32", "bfloat16"), n_cols=16_384, k=64)
def _topk(n_cols: int, k: int, dtype: Any) -> Workload:
    x = _random(max(_ELEMENTS // n_cols, 1), n_cols, dtype=dtype)
    return Workload([x], lambda x: list(torch.topk(x, k)), moved=x.nbytes)


@_problem("search_rows", n_sorted=4096)
def _search(n_sorted: int, dtype: Any) -> Workload:
    edges = torch.sort(_random(n_sorted, dtype=dtype))[0]
    x = _random(_ELEMENTS // 4, dtype=dtype, seed=1)
    return Workload(
        [edges, x], lambda e, x: [torch.searchsorted(e, x)], moved=x.nbytes + x.numel() * 8
    )


# ---- moving


@_problem("copy_rows", n_cols=4096)
def _cat(n_cols: int, dtype: Any) -> Workload:
    x = _random(_rows(n_cols) // 2 or 1, n_cols, dtype=dtype)
    return Workload([x, x], lambda *x: [torch.cat(x, -1)], moved=4 * x.nbytes)


@_problem("embedding_rows", n_columns=512)
def _embedding(n_columns: int, dtype: Any) -> Workload:
    w, index = _random(8192, n_columns, dtype=dtype), _places(8192, _rows(n_columns))
    moved = 2 * index.numel() * n_columns * dtype.itemsize
    return Workload([w, index], lambda w, i: [torch.nn.functional.embedding(i, w)], moved=moved)


@_problem("embedding_backward_columns", device="cpu", n_columns=512)
@_problem("embedding_backward_atomic", device="cuda", n_columns=512)
def _embedding_backward(n_columns: int, dtype: Any) -> Workload:
    w, index = _random(8192, n_columns, dtype=dtype), _places(8192, _rows(n_columns) // 4 or 1)
    g = _random(index.numel(), n_columns, dtype=dtype, seed=2)
    return Workload(
        [w, index, g],
        **_gradient(lambda w, i: torch.nn.functional.embedding(i, w), 1),
        moved=w.nbytes + 2 * g.nbytes,
    )


@_problem("fill_zero", numel=1 << 22)
def _fill_zero(numel: int, dtype: Any) -> Workload:
    x, target = _random(numel // 64 or 1, 64, dtype=dtype), _places(64, numel // 64 or 1)
    inputs = [x, target, _random(dtype=dtype)]
    return Workload(inputs, **_gradient(torch.nn.functional.nll_loss, 1), moved=2 * x.nbytes)


@_problem("read_columns", device="cpu", n_columns=1024)
def _gather(n_columns: int, dtype: Any) -> Workload:
    x = _random(_rows(n_columns), n_columns, dtype=dtype)
    return Workload(
        [x, _places(n_columns, *x.shape)],
        lambda x, i: [torch.gather(x, 1, i)],
        moved=2 * x.nbytes + 8 * x.numel(),
    )


@_problem("read_indexed", "combine_index", n_rest=256)
def _index(n_rest: int, dtype: Any) -> Workload:
    x = _random(64, 128, n_rest, dtype=dtype)
    i, j = _places(64, _rows(n_rest)), _places(128, _rows(n_rest), seed=2)
    return Workload(
        [x, i, j],
        lambda x, i, j: [x[i, j]],
        moved=2 * i.numel() * n_rest * dtype.itemsize,
    )


@_problem("write_indexed", device="cuda", n_rest=1024)
def _index_add_any_order(n_rest: int, dtype: Any) -> Workload:
    return _index_add(n_rest, dtype)


@_problem("write_in_order", device="cpu", n_lanes=1024)
def _index_add(n_lanes: int, dtype: Any) -> Workload:
    x = _random(1024, n_lanes, dtype=dtype)
    i, v = _places(1024, 4096), _random(4096, n_lanes, dtype=dtype, seed=2)
    return Workload(
        [x, i, v], lambda x, i, v: [torch.index_add(x, 0, i, v)], moved=2 * x.nbytes + 3 * v.nbytes
    )


@_problem("add_parts", device="cpu")
def _scatter_add(dtype: Any) -> Workload:
    x, v = _random(256, dtype=dtype), _random(_ELEMENTS, dtype=dtype, seed=2)
    return Workload(
        [x, _places(256, _ELEMENTS), v],
        lambda x, i, v: [torch.scatter_add(x, 0, i, v)],
        moved=v.nbytes + 8 * _ELEMENTS,
    )


# ---- convolutions


@_problem("convolution_tile", device="cpu", m=64, k=576, side=56, batch=8)
def _convolution(m: int, k: int, side: int, batch: int, dtype: Any) -> Workload:
    x = _random(batch, max(k // 9, 1), side, side, dtype=dtype)
    w = _random(m, max(k // 9, 1), 3, 3, dtype=dtype, seed=1)
    return Workload(
        [x, w],
        lambda x, w: [torch.nn.functional.conv2d(x, w, padding=1)],
        operations=2 * batch * m * w[0].numel() * side * side,
    )


@_problem("convolution_arrange", device="cpu", channels=64, side=56, batch=8)
def _strided(channels: int, side: int, batch: int, dtype: Any) -> Workload:
    x = _random(batch, channels, side, side, dtype=dtype)
    w = _random(channels, channels, 3, 3, dtype=dtype, seed=1)
    return Workload(
        [x, w],
        lambda x, w: [torch.nn.functional.conv2d(x, w, stride=2, padding=1)],
        operations=2 * batch * channels * w[0].numel() * (side * side // 4),
    )


@_problem("convolution_weight_rows", channels=64, side=56, batch=8)
def _transposed(channels: int, side: int, batch: int, dtype: Any) -> Workload:
    x = _random(batch, channels, side, side, dtype=dtype)
    w = _random(channels, channels, 3, 3, dtype=dtype, seed=1)
    return Workload(
        [x, w],
        lambda x, w: [torch.nn.functional.conv_transpose2d(x, w, padding=1)],
        operations=2 * batch * channels * w[0].numel() * side * side,
    )


@_problem(
    "convolution_pixels", device="cuda", kinds=("bfloat16", "float32"),
    filters=64, channels=64, side=56, batch=64,
)  # fmt: skip
def _pixels(filters: int, channels: int, side: int, batch: int, dtype: Any) -> Workload:
    x, w = _image(filters, channels, side, batch, dtype)
    return Workload(
        [x, w],
        lambda x, w: [torch.nn.functional.conv2d(x, w, padding=1)],
        operations=2 * batch * w.numel() * side * side,
    )


@_problem(
    "convolution_pixels_weight", device="cuda", kinds=("bfloat16", "float32"),
    filters=64, channels=64, side=56, batch=64,
)  # fmt: skip
def _pixels_weight(filters: int, channels: int, side: int, batch: int, dtype: Any) -> Workload:
    x, w = _image(filters, channels, side, batch, dtype)
    g = _random(batch, filters, side, side, dtype=dtype, seed=2)
    return Workload(
        [w, x, g.contiguous(memory_format=torch.channels_last)],
        **_gradient(lambda w, x: torch.nn.functional.conv2d(x, w, padding=1), 1),
        operations=2 * batch * w.numel() * side * side,
    )


def _image(filters: int, channels: int, side: int, batch: int, dtype: Any) -> list[Tensor]:
    """Images and weights of 3 x 3 taps, channels last."""
    x = _random(batch, channels, side, side, dtype=dtype)
    w = _random(filters, channels, 3, 3, dtype=dtype, seed=1)
    return [t.contiguous(memory_format=torch.channels_last) for t in (x, w)]


@_problem("convolution_weight_tile", device="cpu", m=64, k=576, side=56, batch=8)
@_problem("convolution_sum_parts", m=64, k=576, side=56, batch=8)
def _convolution_weight(m: int, k: int, side: int, batch: int, dtype: Any) -> Workload:
    x = _random(batch, max(k // 9, 1), side, side, dtype=dtype)
    w = _random(m, max(k // 9, 1), 3, 3, dtype=dtype, seed=1)
    g = _random(batch, m, side, side, dtype=dtype, seed=2)
    return Workload(
        [w, x, g],
        **_gradient(lambda w, x: torch.nn.functional.conv2d(x, w, padding=1), 1),
        operations=2 * batch * m * w[0].numel() * side * side,
    )


@_problem("convolution_direct", channels=64, side=56, batch=8)
def _depthwise(channels: int, side: int, batch: int, dtype: Any) -> Workload:
    x = _random(batch, channels, side, side, dtype=dtype)
    w = _random(channels, 1, 3, 3, dtype=dtype, seed=1)
    return Workload(
        [x, w],
        lambda x, w: [torch.nn.functional.conv2d(x, w, padding=1, groups=channels)],
        moved=2 * x.nbytes,
        operations=18 * x.numel(),
    )


@_problem("convolution_weight_direct", channels=64, side=56, batch=8)
def _depthwise_weight(channels: int, side: int, batch: int, dtype: Any) -> Workload:
    x = _random(batch, channels, side, side, dtype=dtype)
    w = _random(channels, 1, 3, 3, dtype=dtype, seed=1)
    g = _random(*x.shape, dtype=dtype, seed=2)
    return Workload(
        [w, x, g],
        **_gradient(lambda w, x: torch.nn.functional.conv2d(x, w, padding=1, groups=channels), 1),
        moved=2 * x.nbytes,
        operations=18 * x.numel(),
    )


@_problem("convolution_unfold", channels=32, side=64, batch=8)
def _unfold(channels: int, side: int, batch: int, dtype: Any) -> Workload:
    x = _random(batch, channels, side, side, dtype=dtype)
    return Workload(
        [x], lambda x: [torch.nn.functional.unfold(x, 3, padding=1)], moved=10 * x.nbytes
    )


@_problem("convolution_fold", channels=32, side=64, batch=8)
def _fold(channels: int, side: int, batch: int, dtype: Any) -> Workload:
    x = _random(batch, channels * 9, side * side, dtype=dtype)
    return Workload(
        [x],
        lambda x: [torch.nn.functional.fold(x, (side, side), 3, padding=1)],
        moved=x.nbytes * 10 / 9,
    )


# ---- attention


def _heads(n_queries: int, n_keys: int, depth: int, v_depth: int, dtype: Any) -> list[Tensor]:
    shapes = ((4, 8, n_queries, depth), (4, 8, n_keys, depth), (4, 8, n_keys, v_depth))
    return [_random(*shape, dtype=dtype, seed=i) for i, shape in enumerate(shapes)]


_HALVES = ("float32", "bfloat16", "float16")
_ATTENTION: dict[str, Any] = {
    "n_queries": 512,
    "n_keys": 512,
    "depth": 64,
    "v_depth": 64,
    "causal": True,
}


@_problem("attention_forward", kinds=_HALVES, **_ATTENTION)
def _attention(
    n_queries: int, n_keys: int, depth: int, v_depth: int, causal: bool, dtype: Any
) -> Workload:
    attend = torch.nn.functional.scaled_dot_product_attention
    return Workload(
        _heads(n_queries, n_keys, depth, v_depth, dtype),
        lambda q, k, v: [attend(q, k, v, is_causal=causal)],
        operations=64 * n_queries * n_keys * (depth + v_depth) / (2 if causal else 1),
    )


def _attention_backward(heads: int) -> Callable[..., Workload]:
    """One program for each group of heads where there are enough of them for the threads."""

    def build(
        n_queries: int, n_keys: int, depth: int, v_depth: int, causal: bool, dtype: Any
    ) -> Workload:
        attend = torch.nn.functional.scaled_dot_product_attention
        shapes = ((n_queries, depth), (n_keys, depth), (n_keys, v_depth), (n_queries, v_depth))
        inputs = [_random(1, heads, *s, dtype=dtype, seed=i) for i, s in enumerate(shapes)]
        done = heads * n_queries * n_keys * (depth + v_depth)
        return Workload(
            inputs,
            **_gradient(lambda q, k, v: attend(q, k, v, is_causal=causal), 3),
            operations=5 * done / (2 if causal else 1),
        )

    return build


_problem("attention_backward_heads", kinds=_HALVES, device="cpu", **_ATTENTION)(
    _attention_backward(32)
)
_problem(
    "attention_backward_queries", "attention_backward_keys", kinds=_HALVES, device="cpu",
    **_ATTENTION,
)(_attention_backward(1))  # fmt: skip
_problem("attention_gpu_queries", "attention_gpu_keys", kinds=_HALVES, device="cuda", **_ATTENTION)(
    _attention_backward(16)
)
