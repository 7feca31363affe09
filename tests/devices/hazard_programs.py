"""Programs whose kernels talk through memory: rows in parts, scratch, in-place updates, arrivals.

Sizes are such that launches have several programs, and programs several rounds. Where they give a
tensor that needs gradients, its backward runs, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _attention(torch: Any) -> Any:
    q, k, v = (torch.randn(1, 2, 130, 16, requires_grad=True) for _ in range(3))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def _batch_norm(torch: Any) -> Any:
    x = torch.randn(6, 5, 20, 20, requires_grad=True)
    weight, bias = torch.randn(5, requires_grad=True), torch.randn(5, requires_grad=True)
    return torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True)


def _capturable(torch: Any) -> None:
    parameters = [torch.randn(n, requires_grad=True) for n in (3, 40_000)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    torch.optim.AdamW(parameters, capturable=True).step()


def _channels_last(torch: Any) -> Any:
    x = torch.randn(2, 16, 12, 12).contiguous(memory_format=torch.channels_last)
    w = torch.randn(8, 16, 3, 3, requires_grad=True)
    return torch.nn.functional.conv2d(x.requires_grad_(), w, padding=1)


def _embedding(torch: Any) -> Any:
    w = torch.randn(7, 40, requires_grad=True)
    return torch.nn.functional.embedding(torch.arange(300) % 7, w)


def _in_order(torch: Any) -> Any:
    torch.use_deterministic_algorithms(True)
    try:
        made = _embedding(torch)
        made.sum().backward()
        x = torch.zeros(9, 5).bfloat16()
        x.index_add_(0, torch.arange(50) % 9, torch.ones(50, 5).bfloat16())
        x.index_put_((torch.arange(50) % 9,), torch.randn(50, 5).bfloat16())
        return x.scatter_reduce(0, torch.zeros(50, 5).long(), torch.ones(50, 5).bfloat16(), "prod")
    finally:
        torch.use_deterministic_algorithms(False)


def _overlapping(torch: Any) -> None:
    x = torch.randn(48, 48)
    places = torch.empty(48, 48, dtype=torch.int64)
    x.copy_(x.flip(0))
    torch.cumsum(x, 0, out=x)
    torch.softmax(x, 1, out=x)
    torch.sort(x, 1, out=(x, places))
    torch.mm(x, x, out=x)
    torch.sub(x, x.mean(0), out=x)
    torch.sum(x, 0, out=x[0])
    torch.gather(x, 0, places, out=x)
    torch.tril(x, out=x)
    x.index_copy_(0, torch.arange(48), x)
    x.scatter_add_(0, places, x)
    for refused in (
        lambda: x.add_(x.T),
        lambda: x[1:].copy_(x[:-1]),
        lambda: x[:, 1:].mul_(x[:, :-1]),
    ):
        try:
            refused()
        except RuntimeError as error:
            assert "single memory location" in str(error)


def _factors(torch: Any) -> None:
    x = torch.randn(40, 40)
    torch.linalg.qr(x), torch.linalg.inv(x), torch.linalg.eigh(x + x.T)
    torch.linalg.cholesky(x @ x.T + 40 * torch.eye(40))


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "sort in two rounds": lambda torch: torch.randn(3, 300, dtype=torch.float64).sort(1)[0],
    "sort of long rows": lambda torch: torch.randn(2, 9000).sort(1)[0],
    "sort of many blocks": lambda torch: torch.randn(140_000).sort()[0],
    "sort of long words": lambda torch: torch.randn(9000, dtype=torch.float64).sort()[0],
    "topk in parts": lambda torch: torch.randn(40_000).topk(9)[0],
    "topk of equals": lambda torch: torch.ones(2, 5000).topk(9)[0],
    "cumsum in parts": lambda torch: torch.randn(150_000, requires_grad=True).cumsum(0),
    "cumsum of columns": lambda torch: torch.randn(20_000, 9).cumsum(0),
    "cummax": lambda torch: torch.randn(50_000).cummax(0)[0],
    "sum in parts": lambda torch: torch.randn(300_000, requires_grad=True).sum(),
    "variance of columns": lambda torch: torch.randn(9000, 40, requires_grad=True).var(0),
    "softmax": lambda torch: torch.randn(3, 9000, requires_grad=True).softmax(1),
    "layer_norm": lambda torch: torch.nn.functional.layer_norm(
        torch.randn(600, 96, requires_grad=True), (96,), torch.randn(96, requires_grad=True)),
    "cross_entropy": lambda torch: torch.nn.functional.cross_entropy(
        torch.randn(40, 5000, requires_grad=True), torch.arange(40)),
    "product split": lambda torch: torch.randn(32, 4096, requires_grad=True).bfloat16()
    @ torch.randn(4096, 24, requires_grad=True).bfloat16(),
    "attention": _attention, "batch_norm": _batch_norm, "channels_last": _channels_last,
    "embedding": _embedding, "in order": _in_order, "capturable": _capturable,
    "overlapping": _overlapping, "factors": _factors,
    "rotations": lambda torch: torch.linalg.svd(torch.randn(6, 5))[1],
    "nonzero": lambda torch: (torch.randn(70, 90) > 0).nonzero(),
    "unique": lambda torch: (torch.arange(9000) % 77).unique(return_inverse=True)[1],
    "multinomial": lambda torch: torch.rand(3, 500).multinomial(20),
    "bincount": lambda torch: torch.bincount(torch.arange(9000) % 5),
}  # fmt: skip


def walk(torch: Any, name: str) -> None:
    """Run a program on the default device."""
    made = PROGRAMS[name](torch)
    if isinstance(made, torch.Tensor) and made.requires_grad:
        made.backward(torch.ones_like(made))
