"""What `bench.gpu` measures: programs that run on both libraries, with their bars.

`program(torch, scale)` makes the inputs of one set and returns the call that is timed; `scale` is
1, or less in a dry run. A row has a bar against the peer (our speed over its speed) or against the
copy bandwidth of the run (bytes moved a second over it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    """

    name: str
    program: Program
    bar: float
    of_bandwidth: bool = False
    moved: float = 0
    operations: float = 0
    sets: int = 3


def _size(n: int, scale: float) -> int:
    return max(int(n * scale), 16)


def _random(torch: Any, *shape: int, dtype: str = "float32", grad: bool = False) -> Any:
    made = torch.randn(*shape, device="cuda").to(getattr(torch, dtype))
    return made.requires_grad_() if grad else made


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
        upstream = torch.ones_like(y)
        return lambda: torch.autograd.grad(y, x, upstream, retain_graph=True)

    return program


def _layer_norm(torch: Any, x: Any) -> Any:
    return torch.nn.functional.layer_norm(x, (x.shape[-1],))


def _rms_norm(torch: Any, x: Any) -> Any:
    return torch.nn.functional.rms_norm(x, (x.shape[-1],))


def _softmax(torch: Any, x: Any) -> Any:
    return torch.softmax(x, -1)


def _cross_entropy(torch: Any, x: Any) -> Any:
    target = torch.arange(x.shape[0], device="cuda") % x.shape[1]
    return torch.nn.functional.cross_entropy(x, target)


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
        upstream = torch.ones_like(y)
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
        upstream = torch.ones_like(y)
        return lambda: torch.autograd.grad(y, wanted, upstream, retain_graph=True)

    return program


def _small_add(torch: Any, scale: float) -> Call:
    x, y = _random(torch, 16, grad=True), _random(torch, 16, grad=True)
    return lambda: x + y


def _index_put(torch: Any, scale: float) -> Call:
    rows = _size(1 << 16, scale)
    x, values = _random(torch, rows, 256), _random(torch, rows, 256)
    places = torch.arange(rows, device="cuda") * 7 % rows
    return lambda: x.index_put_((places,), values, accumulate=True)


def _embedding_backward(torch: Any, scale: float) -> Call:
    weight = _random(torch, _size(50_000, scale), 768, grad=True)
    tokens = torch.arange(_size(16_384, scale), device="cuda") * 131 % weight.shape[0]
    y = torch.nn.functional.embedding(tokens, weight)
    upstream = torch.ones_like(y)
    return lambda: torch.autograd.grad(y, weight, upstream, retain_graph=True)


def _bandwidth(name: str, program: Program, bar: float, moved: float) -> Row:
    return Row(name, program, bar, of_bandwidth=True, moved=moved)


def _table() -> list[Row]:
    four, half = 4 * _ELEMENTS, 2 * _ELEMENTS
    rows, columns = 1 << 14, 1 << 12
    found = [
        _bandwidth("copy 256 MiB", _pointwise(lambda t, x: x.clone()), 0.9, 2 * four),
        _bandwidth("add", _pointwise(lambda t, x, y: x + y, 2), 0.9, 3 * four),
        _bandwidth("cast to bf16", _pointwise(lambda t, x: x.bfloat16()), 0.9, four + half),
        _bandwidth("gelu", _pointwise(lambda t, x: t.nn.functional.gelu(x)), 0.9, 2 * four),
        _bandwidth("dropout", _pointwise(lambda t, x: t.nn.functional.dropout(x)), 0.9, 2 * four),
        _bandwidth("sum", _pointwise(lambda t, x: x.sum()), 0.85, four),
        _bandwidth("AdamW 64M", _adamw, 0.85, 7 * 4 * 4 * (1 << 24)),
    ]
    for name, function in (
        ("softmax", _softmax), ("layer_norm", _layer_norm), ("rms_norm", _rms_norm),
    ):  # fmt: skip
        size = 2 * rows * columns
        forward = _rows(function, rows, columns, "bfloat16")
        backward = _backward(function, rows, columns, "bfloat16")
        found.append(_bandwidth(f"{name} bf16", forward, 0.85, 2 * size))
        found.append(_bandwidth(f"{name} bf16 backward", backward, 0.85, 3 * size))
    found.append(
        _bandwidth(
            "cross_entropy 8k x 50k", _rows(_cross_entropy, 8192, 50_257, "bfloat16"), 0.85,
            2 * 8192 * 50_257,
        )
    )  # fmt: skip
    for n in (4096, 8192):
        for dtype in ("bfloat16", "float16"):
            program = _matmul(n, n, n, dtype)
            found.append(Row(f"matmul {dtype} {n}", program, 0.95, operations=2 * n**3))
    n = 4096
    for k in (512, 16_384):
        program = _matmul(n, n, k, "bfloat16")
        found.append(Row(f"matmul bf16 K={k}", program, 0.95, operations=2 * n * n * k))
    for turned in ("a", "b", "ab"):
        program = _matmul(n, n, n, "bfloat16", turned=turned)
        found.append(Row(f"matmul bf16 {turned} transposed", program, 0.95, operations=2 * n**3))
    found += [
        Row("bmm bf16 32x1024", _matmul(1024, 1024, 1024, "bfloat16", batch=32), 0.95,
            operations=64 * 1024**3),
        Row("linear+gelu bf16 4096", _matmul(n, n, n, "bfloat16", epilogue=True), 0.95,
            operations=2 * n**3),
        Row("matmul fp32 4096", _matmul(n, n, n, "float32"), 0.9, operations=2 * n**3),
    ]  # fmt: skip
    for length in (1024, 4096, 16_384):
        for head in (64, 128):
            for causal in (False, True):
                for backward, bar in ((False, 0.9), (True, 0.85)):
                    words = f"{' causal' * causal}{' backward' * backward}"
                    program = _attention(length, head, causal=causal, backward=backward)
                    found.append(Row(f"attention T={length} d={head}{words}", program, bar))
    for channels, out, side, taps in ((64, 64, 56, 3), (256, 256, 14, 3), (1024, 256, 14, 1)):
        for part in ("forward", "input", "weight"):
            program = _convolution(channels, out, side, taps, part=part)
            found.append(Row(f"conv {taps}x{taps} {channels}->{out} {side} {part}", program, 0.8))
    found += [
        Row("sort 4096x4096", _rows(lambda t, x: t.sort(x, -1), 4096, 4096, "float32"), 0.7),
        Row("topk 64", _rows(lambda t, x: t.topk(x, min(64, x.shape[-1])), 4096, 16_384, "float32"),
            0.7),
        Row("cumsum", _rows(lambda t, x: t.cumsum(x, -1), rows, columns, "float32"), 0.7),
        Row("embedding backward", _embedding_backward, 0.7),
        Row("index_put accumulate", _index_put, 0.7),
        Row("add of 16 with gradient", _small_add, 1 / 1.5, sets=1),
    ]  # fmt: skip
    return found


ROWS = _table()
