"""Views and in-place operations on Fake tensors: what is forbidden, what history they give."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from tests.autograd.fake import tensor
from tritorch import autograd
from tritorch.autograd.edges import register_hook, retain_grad

pytestmark = pytest.mark.usefixtures("fakes")

AMBIGUOUS = "Given that this use case is ambiguous and error-prone, it is forbidden"


def test_leaves_and_their_views_are_protected() -> None:
    x = tensor([1.0, 2.0], True)
    with pytest.raises(RuntimeError, match=r"^a leaf Variable that requires grad is being used in"):
        x.mul_(2.0)
    with pytest.raises(
        RuntimeError, match=r"^a view of a leaf Variable that requires grad is being"
    ):
        x[:1].mul_(2.0)
    with autograd.no_grad():
        x.mul_(2.0)
    assert x.tolist() == [2.0, 4.0] and x._storage.version == 1


def test_history_after_an_in_place_operation() -> None:
    x = tensor([1.0, 2.0], True)
    y = x * 3.0
    y.mul_(y.clone())
    autograd.backward(y.sum())
    assert np.allclose(x.grad.array, 18 * x.array)


def test_a_saved_input_that_was_written_to() -> None:
    x = tensor([1.0, 2.0], True)
    y = x * 3.0
    z = y * y
    y.mul_(2.0)
    with pytest.raises(
        RuntimeError,
        match=r"\[torch.DoubleTensor \[2\]\], which is output 0 of Mul, is at version 1; expected "
        r"version 0 instead",
    ):
        autograd.backward(z.sum())


def test_a_saved_leaf_that_was_written_to_has_no_producer_in_the_message() -> None:
    x, y = tensor([1.0], True), tensor([2.0])
    z = x * y
    y.mul_(2.0)
    with pytest.raises(
        RuntimeError, match=r"operation: \[torch.DoubleTensor \[1\]\] is at version"
    ):
        autograd.backward(z)


def test_writing_to_a_view_reaches_the_base() -> None:
    x = tensor([1.0, 2.0, 3.0], True)
    base = x * 2.0
    view = base[1:]
    view.mul_(5.0)
    assert base.grad_fn.name() == "CopySlices"
    assert view.grad_fn.name() == "AsStridedBackward0"
    autograd.backward(base.sum() + view.sum())
    assert x.grad.tolist() == [2.0, 20.0, 20.0]


def test_a_view_taken_before_its_base_was_written_to() -> None:
    x = tensor([1.0, 2.0, 3.0], True)
    base = x * 2.0
    view = base[:2]
    other = base[1:]
    base.mul_(3.0)
    other.mul_(7.0)
    assert view.tolist() == [6.0, 84.0]
    autograd.backward(view.sum())
    assert x.grad.tolist() == [6.0, 42.0, 0.0]


def test_a_base_without_gradient_gets_one_through_its_view() -> None:
    base, w = tensor([1.0, 2.0, 3.0]), tensor([10.0], True)
    view, late = base[:1], base[1:]
    assert not view.requires_grad
    view.mul_(w)
    assert base.requires_grad and view.requires_grad and late.requires_grad
    autograd.backward(base.sum(), retain_graph=True)
    assert w.grad.tolist() == [1.0]
    autograd.backward(late.sum() + view.sum())
    assert w.grad.tolist() == [2.0]


def test_a_view_of_a_base_that_gets_a_history_later() -> None:
    base, w = tensor([1.0, 2.0]), tensor([3.0, 5.0], True)
    view = base[1:]
    assert not view.requires_grad and not (view * 2.0).requires_grad
    base.mul_(w)
    assert view.requires_grad
    autograd.backward(view * 2.0)
    assert w.grad.tolist() == [0.0, 4.0]


def test_a_leaf_that_is_written_by_copy_with_gradient() -> None:
    """x[i] = v in a loop, as programs fill a buffer."""
    buffer = tensor([0.0, 0.0, 0.0])
    v = tensor([2.0], True)
    for i in range(3):
        buffer[i : i + 1].copy_(v * float(i))
    autograd.backward(buffer.sum())
    assert buffer.tolist() == [0.0, 2.0, 4.0]
    assert v.grad.tolist() == [3.0]


def test_double_backward_through_a_written_view() -> None:
    x = tensor([2.0, 3.0], True)
    base = x * x
    view = base[1:]
    view.mul_(view.clone())
    (first,) = autograd.grad(base.sum(), x, create_graph=True)
    assert first.tolist() == [4.0, 4 * 27.0]
    (second,) = autograd.grad(first.sum(), x)
    assert second.tolist() == [2.0, 12 * 9.0]


def test_an_in_place_operation_on_a_view_that_saves_its_result() -> None:
    x = tensor([0.5, 0.25], True)
    base = x * 1.0
    view = base[1:]
    view.exp_()
    (first,) = autograd.grad(base.sum(), x, create_graph=True)
    (second,) = autograd.grad(first.sum(), x)
    assert np.allclose(first.array, [1.0, np.exp(0.25)])
    assert np.allclose(second.array, [0.0, np.exp(0.25)])


def test_a_second_backward_through_a_written_view_is_an_error() -> None:
    x = tensor([1.0, 2.0], True)
    base = x * 2.0
    base[1:].mul_(3.0)
    autograd.backward(base.sum(), retain_graph=True)
    autograd.backward(base.sum())
    assert x.grad.tolist() == [4.0, 12.0]
    with pytest.raises(RuntimeError, match="a second time"):
        autograd.backward(base.sum())


def test_only_one_input_of_a_written_view() -> None:
    x, w = tensor([1.0, 2.0], True), tensor([4.0], True)
    base = x * 2.0
    base[1:].mul_(w)
    (gw,) = autograd.grad(base.sum(), w, retain_graph=True)
    (gx,) = autograd.grad(base.sum(), x)
    assert (gw.tolist(), gx.tolist()) == ([4.0], [2.0, 8.0])


def test_views_from_one_call_are_protected() -> None:
    x = tensor([1.0, 2.0], True)
    base = x * 1.0
    first, second = base.split2()
    with pytest.raises(
        RuntimeError,
        match=r"^Output 0 of Split is a view and is being modified inplace. This view is",
    ):
        first.mul_(2.0)
    with autograd.no_grad():
        base.mul_(2.0)
    with pytest.raises(
        RuntimeError,
        match=r"^Output 1 of Split is a view and its base or another view of its base has been "
        "modified inplace. This view",
    ):
        second * 2.0


def test_views_made_in_no_grad_mode() -> None:
    x = tensor([1.0, 2.0], True)
    base = x * 1.0
    with autograd.no_grad():
        view = base[:1]
    assert view.requires_grad and view.grad_fn is None
    with pytest.raises(
        RuntimeError, match=f"^A view was created in no_grad mode and is.*{AMBIGUOUS}"
    ):
        view.mul_(2.0)
    with autograd.inference_mode():
        view = base[:1]
    with pytest.raises(RuntimeError, match=r"inference mode.*inside the inference_mode block"):
        view.mul_(2.0)
    with autograd.no_grad():
        base.mul_(1.0)
    with pytest.raises(
        RuntimeError, match="its base or another view of its base has been modified"
    ):
        view * 2.0


def test_a_view_of_a_view_has_the_first_base() -> None:
    x = tensor([1.0, 2.0, 3.0], True)
    base = x * 1.0
    inner = base[1:][1:]
    assert inner._view.base is base
    inner.mul_(4.0)
    autograd.backward(base.sum())
    assert x.grad.tolist() == [1.0, 1.0, 4.0]


def test_hooks_stay_with_the_old_value_and_a_retained_gradient_moves() -> None:
    x = tensor([1.0], True)
    y = x * 2.0
    seen: list[tuple[str, float]] = []
    register_hook(y, lambda g: seen.append(("before", g.tolist()[0])))
    retain_grad(y)
    y.mul_(10.0)
    register_hook(y, lambda g: seen.append(("after", g.tolist()[0])))
    autograd.backward(y * 3.0)
    assert seen == [("after", 3.0), ("before", 30.0)]
    assert y.grad.tolist() == [3.0]


def test_written_views_leave_no_circle() -> None:
    gc.collect()
    gc.disable()
    try:
        x = tensor([1.0, 2.0], True)
        base = x * 2.0
        view = base[1:]
        view.exp_()
        total = base.sum()
        references = [weakref.ref(t) for t in (base, view, total, base._grad_fn)]
        autograd.backward(total)
        del base, view, total
        assert [r() for r in references] == [None] * len(references)
    finally:
        gc.enable()
