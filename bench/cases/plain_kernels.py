"""Plain Triton kernels of bench/kernels.py on raw memory: the CPU target alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.cases.case import Case, Run
from bench.cases.case import array as _array


def launch(
    name: str,
    signature: dict[str, str],
    constants: dict[str, int],
    grid: Sequence[int],
    arguments: Sequence[Any],
) -> Run:
    """A kernel of bench/kernels.py, compiled and bound; arrays are passed by address."""
    from bench import kernels
    from tritorch.runtime import get_target

    target = get_target("cpu")
    kernel = target.compile(kernels.source(getattr(kernels, name)), signature, constants)
    values = [None if isinstance(value, np.ndarray) else value for value in arguments]
    bound = target.bind(kernel, grid, values)
    arrays = [value for value in arguments if isinstance(value, np.ndarray)]
    addresses = [value.ctypes.data for value in arrays]

    def run(_keep: list[np.ndarray] = arrays) -> None:
        bound(*addresses)

    return run


def _pointwise(name: str, operands: int, n: int, dtype: Any = np.float32) -> Callable[[], Run]:
    kinds = {np.float32: "*fp32", np.float16: "*fp16"}

    def setup() -> Run:
        arrays = [_array(n, dtype=dtype, seed=i) for i in range(operands + 1)]
        names = (
            ["x_ptr", "y_ptr", "o_ptr"] if operands == 2 else ["x_ptr", "w_ptr", "b_ptr", "o_ptr"]
        )
        signature = dict.fromkeys(names, kinds[dtype]) | {"n": "i32"}
        return launch(name, signature, {"BLOCK": 1024}, (-(-n // 1024),), [*arrays, n])

    return setup


def _rowwise(name: str, rows: int, columns: int) -> Callable[[], Run]:
    block = 1 << (columns - 1).bit_length()

    def setup() -> Run:
        x, y = _array(rows, columns), _array(rows, columns)
        if name == "layer_norm":
            w, b = _array(columns, seed=1), _array(columns, seed=2)
            signature = dict.fromkeys(["x_ptr", "y_ptr", "w_ptr", "b_ptr"], "*fp32")
            signature |= {"n": "i32", "eps": "fp32"}
            return launch(name, signature, {"BLOCK": block}, (rows,), [x, y, w, b, columns, 1e-5])
        signature = {"x_ptr": "*fp32", "o_ptr": "*fp32", "n": "i32"}
        return launch(name, signature, {"BLOCK": block}, (rows,), [x, y, columns])

    return setup


def _torch_pointwise(formula: str, operands: int, n: int, dtype: str = "float32") -> Any:
    def setup(torch: Any) -> Run:
        values = [torch.randn(n).to(getattr(torch, dtype)) for _ in range(operands)]
        gelu = torch.nn.functional.gelu
        out = torch.empty_like(values[0])
        if formula == "add":
            return lambda: torch.add(*values, out=out)
        if formula == "gelu":
            return lambda: gelu(values[0] * values[1] + values[2])
        return lambda: gelu(values[0] * values[1] + values[2], approximate="tanh")

    return setup


def _torch_softmax(rows: int, columns: int) -> Any:
    def setup(torch: Any) -> Run:
        x = torch.randn(rows, columns)
        out = torch.empty_like(x)
        return lambda: torch._softmax(x, 1, False, out=out)

    return setup


def _torch_layer_norm(rows: int, columns: int) -> Any:
    def setup(torch: Any) -> Run:
        x, w, b = torch.randn(rows, columns), torch.randn(columns), torch.randn(columns)
        return lambda: torch.nn.functional.layer_norm(x, (columns,), w, b)

    return setup


def _dropout(n: int = 200_000) -> Run:
    signature = {"x_ptr": "*fp32", "o_ptr": "*fp32", "n": "i32", "p": "fp32", "seed": "i32"}
    arguments = [_array(n), _array(n), n, 0.3, 1234]
    return launch("dropout", signature, {"BLOCK": 1024}, (-(-n // 1024),), arguments)


def _argmax(rows: int = 256, columns: int = 1024) -> Run:
    signature = {"x_ptr": "*fp32", "i_ptr": "*i32", "n": "i32"}
    arguments = [_array(rows, columns), np.zeros(rows, np.int32), columns]
    return launch("argmax", signature, {"BLOCK": columns}, (rows,), arguments)


def _transpose(size: int) -> Callable[[], Run]:
    def setup() -> Run:
        signature = {"x_ptr": "*fp32", "o_ptr": "*fp32", "m": "i32", "n": "i32"}
        grid = (-(-size // 32), -(-size // 32))
        arguments = [_array(size, size), _array(size, size), size, size]
        return launch("transpose", signature, {"ROWS": 32, "COLUMNS": 32}, grid, arguments)

    return setup


def _column_sum(rows: int = 1024, columns: int = 512) -> Run:
    signature = {"x_ptr": "*fp32", "o_ptr": "*fp32", "m": "i32", "n": "i32"}
    arguments = [_array(rows, columns), _array(columns), rows, columns]
    return launch("column_sum", signature, {"ROWS": 16, "COLUMNS": 64}, (columns // 64,), arguments)


def _scatter_add(n: int = 1_000_000, bins: int = 1000) -> Run:
    signature = {"index_ptr": "*i32", "x_ptr": "*fp32", "o_ptr": "*fp32", "n": "i32"}
    index = np.random.default_rng(0).integers(0, bins, n).astype(np.int32)
    arguments = [index, _array(n), np.zeros(bins, np.float32), n]
    return launch("scatter_add", signature, {"BLOCK": 1024}, (-(-n // 1024),), arguments)


def _torch_scatter_add(torch: Any, n: int = 1_000_000, bins: int = 1000) -> Run:
    out, index, x = torch.zeros(bins), torch.randint(0, bins, (n,)), torch.randn(n)
    return lambda: out.index_add_(0, index, x)


def _flash(heads: int = 4, rows: int = 512, depth: int = 64) -> Run:
    signature = dict.fromkeys(["q_ptr", "k_ptr", "v_ptr", "o_ptr"], "*fp32") | {
        "scale": "fp32", "head_stride": "i32", "row_stride": "i32", "n_rows": "i32",
    }  # fmt: skip
    arrays = [_array(heads, rows, depth, seed=i) for i in range(4)]
    scale = 1.4426950408889634 / depth**0.5
    arguments = [*arrays, scale, rows * depth, depth, rows]
    constants = {"BM": 64, "BN": 64, "D": depth}
    return launch("flash_forward", signature, constants, (rows // 64, heads), arguments)


def _torch_flash(torch: Any, heads: int = 4, rows: int = 512, depth: int = 64) -> Run:
    q, k, v = (torch.randn(1, heads, rows, depth) for _ in range(3))
    attention = torch.nn.functional.scaled_dot_product_attention
    return lambda: attention(q, k, v, is_causal=True)


ROWS = [
    *(
        Case(f"add {n:.0e}", _pointwise("add", 2, n), _torch_pointwise("add", 2, n), 12 * n)
        for n in (10**6, 10**7)
    ),
    *(
        Case(f"{name}(x*w+b) {n:.0e}", _pointwise(name, 3, n), _torch_pointwise(name, 3, n), 16 * n)
        for name in ("gelu", "tanh_gelu")
        for n in (10**6, 10**7)
    ),
    Case(
        "gelu(x*w+b) 1e+06 float16",
        _pointwise("gelu", 3, 10**6, np.float16),
        _torch_pointwise("gelu", 3, 10**6, "float16"),
        8 * 10**6,
    ),
    *(
        Case(f"softmax {r}x{c}", _rowwise("softmax", r, c), _torch_softmax(r, c), 8 * r * c)
        for r, c in (
            (4096, 256),
            (4096, 1024),
            (4096, 1000),
            (1024, 4096),
            (64, 65536),
            (128, 50257),
        )
    ),
    *(
        Case(
            f"layer norm {r}x{c}", _rowwise("layer_norm", r, c), _torch_layer_norm(r, c), 8 * r * c
        )
        for r, c in ((4096, 256), (4096, 1024), (4096, 1000), (64, 65536), (128, 50257))
    ),
    *(
        Case(
            f"transpose {n}x{n}",
            _transpose(n),
            lambda torch, n=n: (lambda x: lambda: x.t().contiguous())(torch.randn(n, n)),
            8 * n * n,
        )
        for n in (1024, 2000)
    ),
    Case(
        "dropout 2e+05",
        _dropout,
        lambda torch: (lambda x: lambda: torch.dropout(x, 0.3, True))(torch.randn(200_000)),
        8 * 200_000,
    ),
    Case(
        "argmax 256x1024",
        _argmax,
        lambda torch: (lambda x: lambda: x.argmax(1))(torch.randn(256, 1024)),
        4 * 256 * 1024,
    ),
    Case(
        "cumsum 256x1024",
        _rowwise("cumsum", 256, 1024),
        lambda torch: (lambda x: lambda: x.cumsum(1))(torch.randn(256, 1024)),
        8 * 256 * 1024,
    ),
    Case(
        "column sum 1024x512",
        _column_sum,
        lambda torch: (lambda x: lambda: x.sum(0))(torch.randn(1024, 512)),
        4 * 1024 * 512,
    ),
    *(
        Case(
            f"sort 256x{n}",
            _rowwise("sort", 256, n),
            lambda torch, n=n: (lambda x: lambda: x.sort(1))(torch.randn(256, n)),
            8 * 256 * n,
        )
        for n in (256, 1024, 4096)
    ),
    Case("scatter add 1e+06 to 1000", _scatter_add, _torch_scatter_add, 12 * 10**6),
    Case("flash attention 4x512x64 causal", _flash, _torch_flash, 0, 2 * 4 * 512 * 512 * 64),
]
