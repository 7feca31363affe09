"""The same programs with torch.func, where PyTorch is installed: values, shapes, dtypes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tritorch

torch = pytest.importorskip("torch")

#: programs of a library and of inputs x (3, 4), y (3, 4), w (5, 4), v (4,), image (2, 3, 6, 6)
PROGRAMS: dict[str, Callable[..., Any]] = {
    "vmap": lambda t, i: t.func.vmap(lambda a: a.softmax(0) @ i.v)(i.x),
    "in and out": lambda t, i: t.vmap(lambda a, b: (a * b, a), (1, 1), (1, 0))(i.x, i.y),
    "three deep": lambda t, i: t.vmap(t.vmap(t.vmap(lambda a: a.sum(-1).sin())))(i.image),
    "per sample": lambda t, i: t.vmap(t.func.grad(lambda w, a: (w @ a).tanh().sum()), (None, 0))(
        i.w, i.x
    ),
    "two arguments": lambda t, i: t.func.grad(lambda a, b: (a * b.exp()).sum(), (0, 1))(i.x, i.y),
    "with more": lambda t, i: t.func.grad(lambda a: ((a**3).sum(), a * 2), has_aux=True)(i.x),
    "and value": lambda t, i: t.func.grad_and_value(lambda a: (a.cos() * a).sum())(i.v),
    "rows": lambda t, i: t.func.jacrev(lambda a: i.w @ a.sin())(i.v),
    "columns": lambda t, i: t.func.jacfwd(lambda a: i.w @ a.sin())(i.v),
    "of containers": lambda t, i: t.func.jacrev(
        lambda d: {"p": d["a"] * d["b"].sum(), "q": d["b"]}
    )({"a": i.v, "b": i.x[0]}),
    "hessian": lambda t, i: t.func.hessian(lambda a: (a.tanh() ** 3).sum())(i.v),
    "hessian of two": lambda t, i: t.func.hessian(lambda a, b: (a * b).sum() ** 2, argnums=(0, 1))(
        i.v, i.x[0]
    ),
    "jvp": lambda t, i: t.func.jvp(lambda a, b: a * b.sin(), (i.x, i.y), (i.y, i.x)),
    "vjp": lambda t, i: t.func.vjp(lambda a, b: (a * b, a.sum()), i.x, i.y)[1]((i.x, i.x.sum())),
    "batched hessian": lambda t, i: t.vmap(t.func.hessian(lambda a: (a**3).sum() * a[0]))(i.x),
    "jvp of grad": lambda t, i: t.func.jvp(
        t.func.grad(lambda a: (a.sin() * a).sum()), (i.v,), (i.v,)
    ),
    "gradient of vmap": lambda t, i: t.func.grad(lambda a: t.vmap(t.dot)(a, i.y).sin().sum())(i.x),
    "linear": lambda t, i: t.vmap(
        lambda a, w: t.nn.functional.linear(a, w, i.v[:1].expand(5)), (0, None)
    )(i.x, i.w),
    "convolution per filter": lambda t, i: t.vmap(
        lambda k: t.nn.functional.conv2d(i.image, k, padding=1)
    )(t.stack([i.image[:, :, :3, :3], i.image[:, :, 3:, 3:]])),
    "chunks": lambda t, i: t.vmap(lambda a: a.cumsum(0), chunk_size=2)(i.x),
    "index": lambda t, i: t.vmap(lambda a, k: a[k], (0, 0))(
        i.x, t.tensor([[0, 1], [3, 3], [2, 0]])
    ),
    "place": lambda t, i: t.vmap(lambda a, k: a[k], (0, 0))(i.x, t.tensor([0, 3, 1])),
    "where": lambda t, i: t.vmap(lambda a, b: t.where(a > 0, a, b.sum()))(i.x, i.y),
    "sorted": lambda t, i: tuple(t.vmap(lambda a: a.sort(0, descending=True))(i.x)),
    "largest": lambda t, i: tuple(t.vmap(lambda a: a.topk(2))(i.x)),
    "einsum": lambda t, i: t.vmap(lambda a: t.einsum("i,ji->j", a, i.w))(i.x),
    "entropy": lambda t, i: t.vmap(t.func.grad(t.nn.functional.cross_entropy))(
        i.x, t.tensor([1, 0, 3])
    ),
    "written": lambda t, i: t.vmap(lambda a, b: a.clone().mul_(b).add_(1))(i.x, i.y),
    "linearize": lambda t, i: t.func.linearize(lambda a: a.exp() * a, i.v)[1](i.v),
}


class Inputs:
    """The same numbers for both libraries."""

    def __init__(self, library: Any) -> None:
        random = np.random.default_rng(3)
        for name, shape in (
            ("x", (3, 4)), ("y", (3, 4)), ("w", (5, 4)), ("v", (4,)), ("image", (2, 3, 6, 6)),
        ):  # fmt: skip
            setattr(self, name, library.tensor(random.uniform(-1, 1, shape)))


def agree(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            agree(a, b)
        return
    assert str(ours.dtype) == str(theirs.dtype)
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), 1e-9, 1e-9)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    ours = PROGRAMS[name](tritorch, Inputs(tritorch))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own
        theirs = PROGRAMS[name](torch, Inputs(torch))
    agree(ours, theirs)
