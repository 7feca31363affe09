"""What a tensor is beside its operations: printing options, copies, files, the host, generators."""

from __future__ import annotations

import copy
import io
import pickle
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

import tritorch as torch
from tritorch import Tensor


class TestPrinting:
    """Expected texts are PyTorch's."""

    def test_options(self) -> None:
        x = torch.tensor([[1.23456, 1e5], [-0.001, 3.0]])
        with torch.printoptions(precision=2):
            assert repr(x) == "tensor([[ 1.23e+00,  1.00e+05],\n        [-1.00e-03,  3.00e+00]])"
        with torch.printoptions(sci_mode=False):
            assert repr(x) == (
                "tensor([[     1.2346, 100000.0000],\n        [    -0.0010,      3.0000]])"
            )
        with torch.printoptions(threshold=5, edgeitems=1):
            assert repr(torch.arange(10)) == "tensor([0,  ..., 9])"
        with torch.printoptions(linewidth=30):
            assert repr(torch.arange(10)) == "tensor([0, 1, 2, 3, 4, 5, 6,\n        7, 8, 9])"
        assert torch.get_printoptions()["precision"] == 4

    def test_profile_is_checked(self) -> None:
        with pytest.raises(ValueError, match="default, short, full; got 'long'"):
            torch.set_printoptions(profile="long")

    def test_suffixes_wrap(self) -> None:
        x = torch.zeros(2, 12, dtype=torch.float64, requires_grad=True)
        assert repr(x * 1).endswith("]], dtype=torch.float64,\n       grad_fn=<MulBackward0>)")

    def test_default_dtype(self) -> None:
        torch.set_default_dtype(torch.float64)
        try:
            assert repr(torch.tensor(1.5)) == "tensor(1.5000)"
            assert repr(torch.tensor(1.5, dtype=torch.float32)) == (
                "tensor(1.5000, dtype=torch.float32)"
            )
        finally:
            torch.set_default_dtype(torch.float32)

    def test_low_precision(self) -> None:
        for kind in (torch.float16, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn):
            x = torch.tensor([0.5, -2.0]).to(kind)
            assert repr(x) == f"tensor([ 0.5000, -2.0000], dtype={kind})"


class TestHost:
    def test_memory_is_shared(self) -> None:
        array = np.arange(6.0, dtype=np.float32).reshape(2, 3)
        tensor = torch.from_numpy(array)
        tensor.add_(1)
        assert array[0, 0] == 1.0
        tensor.numpy()[0, 0] = 9.0
        assert tensor[0, 0].item() == 9.0
        assert torch.from_numpy(array.T).stride() == (1, 3)

    def test_array_keeps_memory_alive(self) -> None:
        array = torch.arange(1000).numpy()
        del_me = [torch.zeros(1000, dtype=torch.int64) for _ in range(10)]
        assert del_me
        np.testing.assert_array_equal(array, np.arange(1000))

    def test_negative_strides_are_an_error(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            torch.from_numpy(np.arange(3)[::-1])

    def test_ml_dtypes(self) -> None:
        array = torch.tensor([1.5, 2.0]).bfloat16().numpy()
        assert array.dtype == ml_dtypes.bfloat16
        assert torch.from_numpy(array).dtype is torch.bfloat16

    def test_dlpack(self) -> None:
        x = torch.arange(4)
        array = np.from_dlpack(x)
        assert array.__array_interface__["data"][0] == x.data_ptr()
        assert torch.from_dlpack(array).data_ptr() == x.data_ptr()

    def test_numpy_operands(self) -> None:
        x = torch.ones(2)
        assert (x * np.float64(2)).dtype is torch.float32
        assert (np.float64(2) * x).dtype is torch.float32
        assert (x + np.ones(2)).dtype is torch.float64
        assert type(np.ones(2) + x) is Tensor

    def test_item_of_each_dtype(self) -> None:
        for kind in (torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8):
            assert torch.tensor([3], dtype=kind).item() == 3
        assert torch.tensor([True]).item() is True


class TestCopies:
    def test_deepcopy_keeps_what_matters(self) -> None:
        x = torch.ones(2, requires_grad=True)
        (x * 2).sum().backward()
        x.note = ["user"]
        y = copy.deepcopy({"a": x, "b": x})
        assert y["a"] is y["b"]
        assert y["a"].requires_grad
        assert y["a"].grad.tolist() == [2.0, 2.0]
        assert y["a"].data_ptr() != x.data_ptr()
        assert y["a"].note == ["user"]

    def test_only_leaves(self) -> None:
        with pytest.raises(RuntimeError, match="deepcopy"):
            copy.deepcopy(torch.ones(2, requires_grad=True) * 2)

    def test_pickle(self) -> None:
        x = torch.arange(6.0).reshape(2, 3).t().requires_grad_()
        y = pickle.loads(pickle.dumps(x))
        assert torch.equal(x, y)
        assert y.requires_grad
        assert y.dtype is x.dtype

    def test_data_is_apart_from_the_graph(self) -> None:
        x = torch.ones(2, requires_grad=True)
        y = x * x
        x.data.mul_(3)
        assert x.tolist() == [3.0, 3.0]
        y.sum().backward()
        assert x.grad.tolist() == [6.0, 6.0]


class TestFiles:
    def test_everything_else(self) -> None:
        shared = torch.ones(2, dtype=torch.bfloat16)
        whole = OrderedDict(
            step=3,
            loss=[1.5, float("inf"), None, True, "text"],
            pair=(shared, shared),
            nested={0: {"a": torch.tensor(5)}, "shape": torch.Size([1, 2])},
            kind=torch.float16,
            device=torch.device("cpu"),
            leaf=torch.ones(1, requires_grad=True),
        )
        file = io.BytesIO()
        torch.save(whole, file)
        file.seek(0)
        back = torch.load(file)
        assert type(back) is OrderedDict
        assert list(back) == list(whole)
        assert back["loss"] == whole["loss"]
        assert back["pair"][0].dtype is torch.bfloat16
        assert back["nested"][0]["a"].item() == 5
        assert back["nested"]["shape"] == torch.Size([1, 2])
        assert back["kind"] is torch.float16
        assert back["leaf"].requires_grad


class TestRandom:
    def test_seed_repeats(self) -> None:
        def draw() -> list[Tensor]:
            torch.manual_seed(7)
            return [
                torch.rand(5), torch.randn(5), torch.randint(100, (5,)), torch.randperm(5),
                torch.bernoulli(torch.full((5,), 0.5)), torch.empty(5).uniform_(-1, 1),
                torch.nn.functional.dropout(torch.ones(5)),
            ]  # fmt: skip

        for first, second in zip(draw(), draw()):
            assert torch.equal(first, second)

    def test_state(self) -> None:
        state = torch.get_rng_state()
        first = torch.rand(3)
        torch.set_rng_state(state)
        assert torch.equal(first, torch.rand(3))
        with torch.random.fork_rng():
            inside = torch.rand(3)
        assert torch.equal(inside, torch.rand(3))

    def test_own_generator(self) -> None:
        own = torch.Generator().manual_seed(3)
        first = torch.rand(4, generator=own)
        torch.rand(4)
        assert torch.equal(first, torch.rand(4, generator=torch.Generator().manual_seed(3)))
        assert not torch.equal(first, torch.rand(4, generator=own))

    def test_distributions(self) -> None:
        torch.manual_seed(1)
        x = torch.randn(20000)
        assert abs(x.mean().item()) < 0.03
        assert abs(x.std().item() - 1) < 0.03
        y = torch.rand(20000, dtype=torch.float64)
        assert y.min().item() >= 0 and y.max().item() < 1
        assert abs(y.mean().item() - 0.5) < 0.01
        counts = torch.bincount(torch.randint(0, 5, (20000,)))
        assert counts.min().item() > 3700
        drawn = torch.multinomial(torch.tensor([1.0, 3.0]), 20000, replacement=True)
        assert abs(drawn.float().mean().item() - 0.75) < 0.02
        assert torch.randperm(1000).sort().values.tolist() == list(range(1000))

    def test_dropout_gradient_has_the_same_mask(self) -> None:
        x = torch.ones(100, 7, requires_grad=True)
        y = torch.nn.functional.dropout(x.t(), 0.3)
        y.sum().backward()
        assert torch.equal(x.grad, y.detach().t())
        assert x.grad.unique().tolist() == pytest.approx([0.0, 1 / 0.7])


class TestDevices:
    def test_absent_device(self) -> None:
        with pytest.raises(RuntimeError, match=r"device='cuda'.*Use device='cpu'"):
            torch.zeros(1, device="cuda")
        with pytest.raises(RuntimeError, match="cuda"):
            torch.zeros(1).cuda()

    def test_default_device_is_per_thread(self) -> None:
        assert torch.get_default_device() == torch.device("cpu")
        torch.set_default_device("cpu")
        assert torch.zeros(1, device="cpu:0").device == torch.device("cpu")


class TestSubclass:
    def test_parameter(self) -> None:
        p = torch.nn.Parameter(torch.ones(2))
        assert p.is_leaf and p.requires_grad
        assert type(p * 2) is Tensor
        assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"

    def test_user_attributes_and_weak_references(self) -> None:
        import weakref

        x = torch.ones(1)
        x.name = "mine"
        reference = weakref.ref(x)
        assert reference().name == "mine"
        del x
        assert reference() is None


def test_storage_is_shared_and_freed() -> None:
    x = torch.zeros(4, 4)
    view = x[1:]
    assert view.untyped_storage() is x.untyped_storage()
    assert view.storage_offset() == 4
    address = x.data_ptr()
    del x
    view.fill_(2)
    assert view.data_ptr() == address + 16


def test_plans_are_bounded() -> None:
    from tritorch.ops.dispatch import Plans

    built = []
    plans = Plans(lambda key: built.append(key) or key, limit=3)
    for key in (1, 2, 3, 1, 2, 3, 4, 1):
        assert plans[key] == key
    assert built == [1, 2, 3, 4, 1]
    assert len(plans) == 2
