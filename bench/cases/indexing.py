"""Gathers, scatters, embeddings, sorts, joins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.cases.case import Case, Run, op

Program = Callable[[Any], Run]


def _sort(*shape: int) -> Program:
    def program(torch: Any) -> Run:
        x = torch.randn(*shape)
        return lambda: torch.sort(x)

    return program


def _topk(rows: int, columns: int, k: int) -> Program:
    def program(torch: Any) -> Run:
        x = torch.randn(rows, columns)
        return lambda: torch.topk(x, k)

    return program


def _transpose(n: int) -> Program:
    def program(torch: Any) -> Run:
        x = torch.randn(n, n)
        return lambda: x.t().contiguous()

    return program


def _cat(rows: int, columns: int, count: int, dim: int) -> Program:
    def program(torch: Any) -> Run:
        parts = [torch.randn(rows, columns) for _ in range(count)]
        return lambda: torch.cat(parts, dim)

    return program


def _gather(n: int) -> Program:
    def program(torch: Any) -> Run:
        x, index = torch.randn(n, n), torch.randint(0, n, (n, n))
        return lambda: torch.gather(x, 1, index)

    return program


def _embedding(rows: int, columns: int, count: int) -> Program:
    def program(torch: Any) -> Run:
        table, index = torch.randn(rows, columns), torch.randint(0, rows, (count,))
        return lambda: torch.nn.functional.embedding(index, table)

    return program


def _embedding_backward(rows: int, columns: int, count: int) -> Program:
    """Forward and backward: the gradient is a dense table."""

    def program(torch: Any) -> Run:
        table = torch.randn(rows, columns).requires_grad_()
        index = torch.randint(0, rows, (count,))
        g = torch.randn(count, columns)

        def run() -> None:
            table.grad = None
            torch.nn.functional.embedding(index, table).backward(g)

        return run

    return program


def _index_add(count: int, size: int, *columns: int) -> Program:
    def program(torch: Any) -> Run:
        out, index = torch.zeros(size, *columns), torch.randint(0, size, (count,))
        source = torch.randn(count, *columns)
        return lambda: out.index_add_(0, index, source)

    return program


def _scatter_add(count: int, size: int) -> Program:
    def program(torch: Any) -> Run:
        out, index = torch.zeros(size), torch.randint(0, size, (count,))
        source = torch.randn(count)
        return lambda: out.scatter_add_(0, index, source)

    return program


def _scatter_add_rows(rows: int, columns: int, size: int) -> Program:
    def program(torch: Any) -> Run:
        out, index = torch.zeros(rows, size), torch.randint(0, size, (rows, columns))
        source = torch.randn(rows, columns)
        return lambda: out.scatter_add_(1, index, source)

    return program


def _scatter_add_columns(rows: int, columns: int, size: int) -> Program:
    def program(torch: Any) -> Run:
        out, index = torch.zeros(size, columns), torch.randint(0, size, (rows, 1))
        source, index = torch.randn(rows, columns), index.expand(rows, columns)
        return lambda: out.scatter_add_(0, index, source)

    return program


def _index_select(rows: int, columns: int, count: int) -> Program:
    def program(torch: Any) -> Run:
        x, index = torch.randn(rows, columns), torch.randint(0, rows, (count,))
        return lambda: torch.index_select(x, 0, index)

    return program


def _index_put(count: int, size: int) -> Program:
    def program(torch: Any) -> Run:
        out, values = torch.zeros(size, size), torch.randn(count)
        rows, columns = (torch.randint(0, size, (count,)) for _ in range(2))
        return lambda: out.index_put_((rows, columns), values, accumulate=True)

    return program


def _nonzero(n: int) -> Program:
    def program(torch: Any) -> Run:
        x = torch.randn(n) > 0
        return lambda: torch.nonzero(x)

    return program


def _masked_select(n: int) -> Program:
    def program(torch: Any) -> Run:
        x = torch.randn(n)
        mask = x > 0
        return lambda: torch.masked_select(x, mask)

    return program


def _bag(mode: str, gradient: bool, count: int = 8) -> Case:
    """1024 bags of so many rows on average, of a table 10000x64."""

    def program(torch: Any) -> Run:
        table = torch.randn(10_000, 64, requires_grad=gradient)
        lengths = torch.randint(1, 2 * count, (1024,))
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)[:-1]])
        index = torch.randint(0, 10_000, (int(lengths.sum()),))
        bag = torch.nn.functional.embedding_bag

        def run() -> Any:
            return bag(index, table, offsets, mode=mode)

        if not gradient:
            return run
        g = torch.randn(1024, 64)
        return lambda: torch.autograd.grad(run(), table, g)

    suffix = ", with gradient" if gradient else ""
    return op(f"embedding_bag {mode} of offsets, 1024 bags of {count}{suffix}", program)


MILLION = 1_000_000

ROWS: list[Case] = [
    op("sort rows 256x1024", _sort(256, 1024), moved=256 * 1024 * 16, bar=1.0),
    op("sort 1M", _sort(MILLION), moved=16 * MILLION, bar=1.0),
    op("topk 256x4096 k=16", _topk(256, 4096, 16), moved=256 * 4096 * 4, bar=1.0),
    op("topk 64x50257 k=50", _topk(64, 50257, 50), moved=64 * 50257 * 4, bar=1.0),
    op("transpose copy 2048", _transpose(2048), moved=8 * 2048**2, bar=1.0),
    op("cat dim 0, 4 of 512x1024", _cat(512, 1024, 4, 0), moved=8 * 4 * 512 * 1024, bar=1.0),
    op("cat dim 1, 4 of 512x1024", _cat(512, 1024, 4, 1), moved=8 * 4 * 512 * 1024, bar=1.0),
    op("gather dim 1, 2048x2048", _gather(2048), moved=16 * 2048**2, bar=1.0),
    op("embedding 50000x256, 8192", _embedding(50_000, 256, 8192), moved=8 * 8192 * 256, bar=1.0),
    op(
        "embedding backward 50000x256, 8192",
        _embedding_backward(50_000, 256, 8192),
        moved=4 * 50_000 * 256 + 16 * 8192 * 256,
        bar=1.0,
    ),
    op("index_add 1M to 1000", _index_add(MILLION, 1000), moved=12 * MILLION, bar=1.0),
    op(
        "index_add 8192x256 to 1000x256",
        _index_add(8192, 1000, 256),
        moved=8192 * 256 * 12,
        bar=1.0,
    ),
    op("scatter_add 1M to 1000", _scatter_add(MILLION, 1000), moved=12 * MILLION, bar=1.0),
    op(
        "scatter_add dim 0, 8192x256 to 1000",
        _scatter_add_columns(8192, 256, 1000),
        moved=8192 * 256 * 12,
        bar=1.0,
    ),
    op(
        "scatter_add dim 1, 1024x1024 to 1000",
        _scatter_add_rows(1024, 1024, 1000),
        moved=1024 * 1024 * 20,
        bar=1.0,
    ),
    op("index_select 50000x256, 8192", _index_select(50_000, 256, 8192), moved=8 * 8192 * 256,
       bar=1.0),
    op("index_put accumulate 1M to 1000x1000", _index_put(MILLION, 1000), moved=28 * MILLION,
       bar=1.0),
    op("nonzero 1M", _nonzero(MILLION), moved=5 * MILLION, bar=1.0),
    *(_bag(mode, gradient) for mode in ("sum", "mean", "max") for gradient in (False, True)),
    op("masked_select 1M", _masked_select(MILLION), moved=7 * MILLION, bar=1.0),
]  # fmt: skip
