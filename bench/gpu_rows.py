"""What `bench.gpu` measures: programs that run on both libraries, with their bars.

`program(torch, scale)` makes the inputs of one set and returns the call that is timed; `scale` is
1, or less in a dry run. A row has a bar against the peer (our speed over its speed) or against the
copy bandwidth of the run (bytes moved a second over it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bench.gpu_model import TINY, Sizes, training_step

Call = Callable[[], Any]
Program = Callable[[Any, float], Call]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        moved: bytes that one call reads and writes, at scale 1.
        operations: floating-point operations of one call, at scale 1.
        bar: the least speed, over the peer's or, where `of_bandwidth`, over the copy's.
        sets: input sets in turn, so that the L2 does not serve them.
        precision: of products in float32, as `set_float32_matmul_precision` takes it.
        group: what `--rows` may choose beside names.
        agrees: whether both libraries must compute the same: not what is random, or adds up
            from call to call.
        dry: whether a dry run can run it: the CPU has no products of fp8.
    """

    name: str
    program: Program
    bar: float
    of_bandwidth: bool = False
    moved: float = 0
    operations: float = 0
    sets: int = 3
    precision: str = "highest"
    group: str = "others"
    dry: bool = True
    agrees: bool = True


def place(torch: Any) -> str:
    """Where its tensors are: a dry run has a GPU for our side only."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _size(n: int, scale: float) -> int:
    return max(int(n * scale), 16)


def _normal(torch: Any, shape: tuple[int, ...]) -> Any:
    """The peer's numbers are ours, so that results can be compared."""
    if torch.__name__ == "tritorch":
        return torch.randn(*shape, device=place(torch))
    import tritorch

    drawn = tritorch.randn(*shape, device="cuda")
    return torch.from_dlpack(drawn.to(place(torch))).clone()


def _random(torch: Any, *shape: int, dtype: str = "float32", grad: bool = False) -> Any:
    made = _normal(torch, shape).to(getattr(torch, dtype))
    return made.requires_grad_() if grad else made


def _upstream(torch: Any, y: Any) -> Any:
    """A gradient of a result: of ones, gradients of normalizing rows are 0 but for rounding."""
    return _random(torch, *y.shape, dtype=str(y.dtype).rpartition(".")[2])


_ELEMENTS = 1 << 26  # 256 MiB of float32


def _pointwise(function: Callable[..., Any], operands: int = 1, dtype: str = "float32") -> Program:
    def program(torch: Any, scale: float) -> Call:
        inputs = [_random(torch, _size(_ELEMENTS, scale), dtype=dtype) for _ in range(operands)]
        return lambda: function(torch, *inputs)

    return program


def _rows(function: Callable[..., Any], rows: int, columns: int, dtype: str) -> Program:
    def program(torch: Any, scale: float) -> Call:
        x = _random(torch, _size(rows, scale), _size(columns, scale), dtype=dtype)
        return lambda: function(torch, x)

    return program


def _backward(function: Callable[..., Any], rows: int, columns: int, dtype: str) -> Program:
    def program(torch: Any, scale: float) -> Call:
        x = _random(torch, _size(rows, scale), _size(columns, scale), dtype=dtype, grad=True)
        y = function(torch, x)
        upstream = _upstream(torch, y)
        return lambda: torch.autograd.grad(y, x, upstream, retain_graph=True)

    return program


def _layer_norm(torch: Any, x: Any) -> Any:
    return torch.nn.functional.layer_norm(x, (x.shape[-1],))


def _rms_norm(torch: Any, x: Any) -> Any:
    return torch.nn.functional.rms_norm(x, (x.shape[-1],))


def _softmax(torch: Any, x: Any) -> Any:
    return torch.softmax(x, -1)


def _adamw(torch: Any, scale: float) -> Call:
    parameters = [_random(torch, _size(1 << 24, scale), grad=True) for _ in range(4)]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    options = {} if torch.__name__ == "tritorch" else {"fused": True}
    return torch.optim.AdamW(parameters, lr=1e-3, **options).step  # type: ignore[no-any-return]


def _matmul(
    m: int, n: int, k: int, dtype: str, *, turned: str = "", batch: int = 0, epilogue: bool = False
) -> Program:
    def program(torch: Any, scale: float) -> Call:
        sizes = [_size(size, scale) for size in (m, n, k)]
        lead = (batch,) if batch else ()
        a = _random(torch, *lead, *(sizes[2], sizes[0])[:: 1 if "a" in turned else -1], dtype=dtype)
        b = _random(torch, *lead, *(sizes[1], sizes[2])[:: 1 if "b" in turned else -1], dtype=dtype)
        a, b = a.mT if "a" in turned else a, b.mT if "b" in turned else b
        if not epilogue:
            return lambda: a @ b
        bias = _random(torch, sizes[1], dtype=dtype)
        weight = b.mT.contiguous()
        functional = torch.nn.functional
        return lambda: functional.gelu(functional.linear(a, weight, bias))

    return program


def _attention(length: int, head: int, *, causal: bool, backward: bool) -> Program:
    def program(torch: Any, scale: float) -> Call:
        heads, batch = 16, max(16384 // length, 1)
        q, k, v = (
            _random(
                torch, batch, heads, _size(length, scale), head, dtype="bfloat16", grad=backward
            )
            for _ in range(3)
        )
        function = torch.nn.functional.scaled_dot_product_attention
        if not backward:
            return lambda: function(q, k, v, is_causal=causal)
        y = function(q, k, v, is_causal=causal)
        upstream = _upstream(torch, y)
        return lambda: torch.autograd.grad(y, (q, k, v), upstream, retain_graph=True)

    return program


def _convolution(
    channels: int, out: int, side: int, taps: int, stride: int = 1, *, part: str = "forward"
) -> Program:
    def program(torch: Any, scale: float) -> Call:
        batch, wide = _size(64, scale), _size(side, max(scale, 0.5))
        x = _random(torch, batch, channels, wide, wide, dtype="bfloat16")
        w = _random(torch, out, channels, taps, taps, dtype="bfloat16")
        x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
        convolve = torch.nn.functional.conv2d
        if part == "forward":
            return lambda: convolve(x, w, stride=stride, padding=taps // 2)
        wanted = x if part == "input" else w
        wanted.requires_grad_()
        y = convolve(x, w, stride=stride, padding=taps // 2)
        upstream = _upstream(torch, y)
        return lambda: torch.autograd.grad(y, wanted, upstream, retain_graph=True)

    return program


def _chain(torch: Any, scale: float) -> Call:
    """bias, then gelu: two kernels for an eager library."""
    rows, columns = _size(1 << 14, scale), 4096
    x, bias = _random(torch, rows, columns), _random(torch, columns)
    return lambda: torch.nn.functional.gelu(x + bias)


def _fp8(torch: Any, scale: float) -> Call:
    """The peer's result is bfloat16, which ours, of a product without scales, is not: it has no
    numbers above 448."""
    n = _size(8192, scale)
    a, b = ((_random(torch, n, n) / 4).to(torch.float8_e4m3fn) for _ in range(2))
    if torch.__name__ == "tritorch":
        return lambda: a @ b.mT
    one = torch.ones((), device=place(torch))
    return lambda: torch._scaled_mm(
        a, b.mT, one, one, out_dtype=torch.bfloat16, use_fast_accum=True
    )


def _gpt2(torch: Any, scale: float) -> Call:
    return training_step(torch, place(torch), Sizes() if scale == 1 else TINY)


def _loss(rows: int, columns: int, *, backward: bool) -> Program:
    """cross_entropy forward, or forward and backward."""

    def program(torch: Any, scale: float) -> Call:
        sizes = _size(rows, scale), _size(columns, scale)
        x = _random(torch, *sizes, dtype="bfloat16", grad=backward)
        target = torch.arange(x.shape[0], device=place(torch)) % x.shape[1]
        cross_entropy = torch.nn.functional.cross_entropy
        if not backward:
            return lambda: cross_entropy(x, target)
        return lambda: torch.autograd.grad(cross_entropy(x, target), x)

    return program


def _small_add(torch: Any, scale: float) -> Call:
    x, y = _random(torch, 16, grad=True), _random(torch, 16, grad=True)
    return lambda: x + y


def _index_put(torch: Any, scale: float) -> Call:
    rows = _size(1 << 16, scale)
    x, values = _random(torch, rows, 256), _random(torch, rows, 256)
    places = torch.arange(rows, device=place(torch)) * 7 % rows
    return lambda: x.index_put_((places,), values, accumulate=True)


def _embedding_backward(torch: Any, scale: float) -> Call:
    weight = _random(torch, _size(50_000, scale), 768, grad=True)
    tokens = torch.arange(_size(16_384, scale), device=place(torch)) * 131 % weight.shape[0]
    y = torch.nn.functional.embedding(tokens, weight)
    upstream = _upstream(torch, y)
    return lambda: torch.autograd.grad(y, weight, upstream, retain_graph=True)


def _scattered(torch: Any, scale: float) -> Call:
    """Additions at chosen places along rows."""
    x, values = (_random(torch, 4096, _size(4096, scale)) for _ in range(2))
    places = torch.arange(x.numel(), device=place(torch)).reshape(x.shape) * 7 % x.shape[1]
    return lambda: x.scatter_add_(1, places, values)


def _counted(torch: Any, scale: float) -> Call:
    values = torch.arange(_size(1 << 24, scale), device=place(torch)) * 131 % 1000
    return lambda: torch.bincount(values)


def _drawn(torch: Any, scale: float) -> Call:
    shares = torch.rand(_size(4096, scale), 4096, device=place(torch))
    return lambda: torch.multinomial(shares, 64, replacement=True)


def _permuted(torch: Any, scale: float) -> Call:
    return lambda: torch.randperm(_size(1 << 24, scale), device=place(torch))


def _pooled(kind: str, *, backward: bool = False) -> Program:
    """ResNet's first pooling and others of its size, channels last."""

    def program(torch: Any, scale: float) -> Call:
        side = _size(112, max(scale, 0.2))
        x = _random(torch, _size(64, scale), 64, side, side, dtype="bfloat16")
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_(backward)
        pool = getattr(torch.nn.functional, f"{kind}_pool2d")
        if not backward:
            return lambda: pool(x, 3, 2, 1)
        y = pool(x, 3, 2, 1)
        upstream = _upstream(torch, y)
        return lambda: torch.autograd.grad(y, x, upstream, retain_graph=True)

    return program


def _bandwidth(name: str, program: Program, bar: float, moved: float, **more: Any) -> Row:
    return Row(name, program, bar, of_bandwidth=True, moved=moved, **more)


def _memory() -> list[Row]:
    four, half = 4 * _ELEMENTS, 2 * _ELEMENTS
    return [
        _bandwidth("copy 256 MiB", _pointwise(lambda t, x: x.clone()), 0.9, 2 * four),
        _bandwidth("add", _pointwise(lambda t, x, y: x + y, 2), 0.9, 3 * four),
        _bandwidth("cast to bf16", _pointwise(lambda t, x: x.bfloat16()), 0.9, four + half),
        _bandwidth("gelu", _pointwise(lambda t, x: t.nn.functional.gelu(x)), 0.9, 2 * four),
        _bandwidth(
            "dropout",
            _pointwise(lambda t, x: t.nn.functional.dropout(x)),
            0.9,
            2 * four,
            agrees=False,
        ),
        _bandwidth("bias + gelu", _chain, 0.9, 4 * four),
        _bandwidth("sum", _pointwise(lambda t, x: x.sum()), 0.85, four),
        _bandwidth("AdamW 64M", _adamw, 0.85, 7 * 4 * 4 * (1 << 24)),
    ]


def _row_kernels() -> list[Row]:
    rows, columns = 1 << 14, 1 << 12
    found = []
    for name, function in (
        ("softmax", _softmax), ("layer_norm", _layer_norm), ("rms_norm", _rms_norm),
    ):  # fmt: skip
        size = 2 * rows * columns
        forward = _rows(function, rows, columns, "bfloat16")
        backward = _backward(function, rows, columns, "bfloat16")
        found.append(_bandwidth(f"{name} bf16", forward, 0.85, 2 * size))
        found.append(_bandwidth(f"{name} bf16 backward", backward, 0.85, 3 * size))
    size = 2 * 8192 * 50_257
    forward, both = (_loss(8192, 50_257, backward=backward) for backward in (False, True))
    sums = [
        (f"{what} dim {dim}", _rows(lambda t, x, w=what, d=dim: getattr(x, w)(d), rows, columns,
                                    "float32"))
        for what in ("sum", "amax", "var") for dim in (0, 1)
    ]  # fmt: skip
    return [
        *found,
        *(_bandwidth(name, program, 0.85, 4 * rows * columns) for name, program in sums),
        _bandwidth("cross_entropy 8k x 50k", forward, 0.85, size),
        _bandwidth("cross_entropy 8k x 50k both", both, 0.85, 3 * size),
    ]


def _products() -> list[Row]:
    found = []
    for n in (4096, 8192):
        for dtype in ("bfloat16", "float16"):
            program = _matmul(n, n, n, dtype)
            found.append(Row(f"matmul {dtype} {n}", program, 0.95, operations=2 * n**3))
    n = 4096
    for k in (512, 1024, 2048, 16_384):
        program = _matmul(n, n, k, "bfloat16")
        found.append(Row(f"matmul bf16 K={k}", program, 0.95, operations=2 * n * n * k))
    for turned in ("a", "b", "ab"):
        program = _matmul(n, n, n, "bfloat16", turned=turned)
        found.append(Row(f"matmul bf16 {turned} transposed", program, 0.95, operations=2 * n**3))
    exact = _matmul(n, n, n, "float32")
    return [
        *found,
        Row("bmm bf16 32x1024", _matmul(1024, 1024, 1024, "bfloat16", batch=32), 0.95,
            operations=64 * 1024**3),
        Row("linear+gelu bf16 4096", _matmul(n, n, n, "bfloat16", epilogue=True), 0.95,
            operations=2 * n**3),
        Row("matmul bf16 16x8192x8192", _matmul(16, 8192, 8192, "bfloat16"), 0.95,
            operations=2 * 16 * 8192**2),
        Row("matmul fp32 4096", exact, 0.9, operations=2 * n**3),
        Row("matmul tf32 4096", exact, 0.9, operations=2 * n**3, precision="high"),
        Row("matmul fp8 8192", _fp8, 0.9, operations=2 * 8192**3, dry=False),
    ]  # fmt: skip


def _attentions() -> list[Row]:
    found = []
    for length in (1024, 2048, 4096, 8192, 16_384):
        for head in (64, 128):
            for causal in (False, True):
                for backward, bar in ((False, 0.9), (True, 0.85)):
                    words = f"{' causal' * causal}{' backward' * backward}"
                    program = _attention(length, head, causal=causal, backward=backward)
                    found.append(Row(f"attention T={length} d={head}{words}", program, bar))
    return found


#: ResNet-50's: channels in and out, side, taps, stride
_RESNET = (
    (3, 64, 224, 7, 2), (64, 64, 56, 1, 1), (64, 64, 56, 3, 1), (64, 256, 56, 1, 1),
    (256, 128, 56, 1, 1), (128, 128, 56, 3, 2), (128, 128, 28, 3, 1), (128, 512, 28, 1, 1),
    (256, 512, 56, 1, 2), (256, 256, 14, 3, 1), (1024, 256, 14, 1, 1), (256, 1024, 14, 1, 1),
    (512, 512, 7, 3, 1), (2048, 512, 7, 1, 1),
)  # fmt: skip


def _convolutions() -> list[Row]:
    found = []
    for channels, out, side, taps, stride in _RESNET:
        for part in ("forward", "input", "weight"):
            if channels == 3 and part == "input":
                continue  # nobody wants the gradient of an image
            program = _convolution(channels, out, side, taps, stride, part=part)
            step = f"/{stride}" if stride > 1 else ""
            found.append(
                Row(f"conv {taps}x{taps}{step} {channels}->{out} {side} {part}", program, 0.8)
            )
    return found


def _others() -> list[Row]:
    rows, columns = 1 << 14, 1 << 12
    return [
        Row("sort 4096x4096", _rows(lambda t, x: t.sort(x, -1), 4096, 4096, "float32"), 0.7),
        Row("sort 16M", _pointwise(lambda t, x: t.sort(x[: 1 << 24])), 0.7),
        Row("topk 64", _rows(lambda t, x: t.topk(x, min(64, x.shape[-1])), 4096, 16_384, "float32"),
            0.7),
        Row("sort 1024x65536 bf16", _rows(lambda t, x: t.sort(x, -1), 1024, 65_536, "bfloat16"),
            0.7),
        Row("sort 4M int64", _pointwise(lambda t, x: t.sort(x[: 1 << 22].long())), 0.7),
        Row("16M topk 64", _pointwise(lambda t, x: t.topk(x[: 1 << 24], min(64, len(x)))), 0.7),
        Row("cumsum", _rows(lambda t, x: t.cumsum(x, -1), rows, columns, "float32"), 0.7),
        Row("cumsum 64M", _pointwise(lambda t, x: t.cumsum(x, 0)), 0.7),
        Row("cumsum dim 0", _rows(lambda t, x: t.cumsum(x, 0), 4096, 4096, "float32"), 0.7),
        Row("cummax 16M", _pointwise(lambda t, x: t.cummax(x[: 1 << 24], 0)), 0.7),
        Row("median 4096x4096", _rows(lambda t, x: t.median(x, -1), 4096, 4096, "float32"), 0.7),
        Row("unique 4M", _pointwise(lambda t, x: t.unique(x[: 1 << 22].round())), 0.7),
        Row("masked_select 64M", _pointwise(lambda t, x: x[x > 0]), 0.7),
        Row("nonzero 64M", _pointwise(lambda t, x: t.nonzero(x > 1)), 0.7),
        Row("scatter_add 4096x4096", _scattered, 0.7, agrees=False),
        Row("bincount 16M", _counted, 0.7),
        Row("multinomial 4096x4096", _drawn, 0.7),
        Row("randperm 16M", _permuted, 0.7),
        *(
            Row(f"{kind}_pool2d{' backward' * backward}", _pooled(kind, backward=backward), 0.7)
            for kind in ("max", "avg")
            for backward in (False, True)
        ),
        Row("embedding backward", _embedding_backward, 0.7),
        Row("index_put accumulate", _index_put, 0.7, agrees=False),
    ]  # fmt: skip


def _table() -> list[Row]:
    """The copy first, which the shares of the bandwidth need; then what counts most."""
    overhead = [Row("add of 16 with gradient", _small_add, 1 / 1.5, sets=1)]
    model = [Row("GPT-2 124M step", _gpt2, 1.0, sets=1, agrees=False)]
    groups = {
        "memory": _memory(), "overhead": overhead, "model": model, "products": _products(),
        "rows": _row_kernels(), "attention": _attentions(), "others": _others(),
        "convolutions": _convolutions(),
    }  # fmt: skip
    return [replace(row, group=group) for group, rows in groups.items() for row in rows]


ROWS = _table()
