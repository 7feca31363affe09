"""Autocast: which dtype which operation computes in, gradients, nesting, threads, no trace left."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import tritorch as torch
from tritorch import nn
from tritorch.amp import casting, custom_bwd, custom_fwd, lists, state
from tritorch.layout import Layout

BF16, HALF, SINGLE, DOUBLE = torch.bfloat16, torch.float16, torch.float32, torch.float64


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lists of CUDA on the CPU's tensors."""
    table = {f: {"cpu": p["cuda"]} for f, p in lists.policies().items() if "cuda" in p}
    monkeypatch.setattr(state, "_interception", casting.interception(table))


def test_products_run_in_lower_precision() -> None:
    x, layer = torch.randn(2, 3), nn.Linear(3, 4)
    with torch.autocast("cpu"):
        products = [layer(x), x @ x.t(), torch.mm(x, x.t()), x.matmul(x.t()), x.mm(x.t())]
        products.append(nn.functional.conv1d(x[None], torch.randn(3, 2, 1)))
        assert [p.dtype for p in products] == [BF16] * 6
        assert (x + 1).dtype == SINGLE
    with torch.autocast("cpu", HALF):
        assert layer(x).dtype == HALF
    assert layer(x).dtype == (x @ x.t()).dtype == SINGLE


def test_losses_run_in_float32_and_joining_in_the_widest() -> None:
    x = torch.randn(2, 3)
    low = x.bfloat16()
    with torch.autocast("cpu"):
        assert nn.functional.mse_loss(low, low).dtype == SINGLE
        assert nn.functional.cross_entropy(low, torch.tensor([0, 1])).dtype == SINGLE
        assert torch.prod(low, 1).dtype == low.prod(1).dtype == SINGLE
        assert torch.cat([x, low]).dtype == torch.stack([low, x]).dtype == SINGLE
        assert torch.cat([low, low]).dtype == BF16
        assert torch.softmax(low, 1).dtype == BF16  # not minded on the CPU


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_scores_of_lower_precision_are_not_copied_for_their_cross_entropy(reduction: str) -> None:
    torch.manual_seed(3)
    scores, target = torch.randn(6, 5).bfloat16().requires_grad_(), torch.tensor([0, 4, 2, 2, 1, 3])
    weight, upstream = torch.rand(5), torch.rand(6 if reduction == "none" else ())
    options = {"reduction": reduction, "label_smoothing": 0.1}
    cross_entropy = nn.functional.cross_entropy
    with torch.autocast("cpu"):
        loss = cross_entropy(scores, target, weight, **options)
        assert loss.grad_fn.next_functions[0][0].name() == "AccumulateGrad"
    wide = cross_entropy(scores.float(), target, weight, **options)
    assert loss.dtype == SINGLE and torch.equal(loss, wide)
    grads = [torch.autograd.grad(x, scores, upstream, create_graph=True)[0] for x in (loss, wide)]
    assert grads[0].dtype == BF16 and torch.equal(*grads)
    with torch.no_grad():
        once = torch.autograd.grad(loss, scores, upstream, retain_graph=True)[0]
    assert torch.equal(once, torch.autograd.grad(wide, scores, upstream, retain_graph=True)[0])


def test_normalization_takes_the_gradient_of_a_cast_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tritorch.autograd import engine
    from tritorch.ops.normalization import NativeLayerNormBackward0

    widened: list[tuple[int, ...]] = []
    validated = engine.validated

    def seen(gradient: torch.Tensor, layout: Layout, *rest: object) -> torch.Tensor:
        if gradient.dtype is BF16 and layout.dtype is SINGLE:
            widened.append(layout.shape)
        return validated(gradient, layout, *rest)

    monkeypatch.setattr(engine, "validated", seen)

    def gradients(branch: bool, hook: bool = False) -> list[torch.Tensor]:
        torch.manual_seed(0)
        norm, layer = nn.LayerNorm(8), nn.Linear(8, 4)
        x = torch.randn(5, 8, requires_grad=True)
        y = norm(x)
        if hook:
            y.register_hook(lambda g: dtypes.append(g.dtype))
        other = (y * 3).sum() if branch else 0  # recorded first: its gradient comes last
        with torch.autocast("cpu"):
            loss = layer(y).float().square().sum()
        (loss + other).backward()
        return [x.grad, norm.weight.grad, norm.bias.grad]

    dtypes: list[torch.dtype] = []
    for branch in (False, True):
        del widened[:]
        found = gradients(branch)
        assert ((5, 8) in widened) is branch  # two gradients are added in float32
        monkeypatch.setattr(NativeLayerNormBackward0, "takes_narrow", False)
        assert all(map(torch.equal, found, gradients(branch)))
        monkeypatch.setattr(NativeLayerNormBackward0, "takes_narrow", True)
    gradients(False, hook=True)
    assert dtypes == [SINGLE]


def test_products_that_sum_nothing_or_everything_are_no_products_of_matrices() -> None:
    v, m, one = torch.ones(3), torch.ones(3, 3), torch.ones(3, 1)
    with torch.autocast("cpu"):
        wide = [torch.einsum(e, v, v) for e in ("i,j->ij", "i,i->i")]
        wide += [torch.einsum("ij,j->ij", m, v), torch.einsum("ij,kj->ik", one, one)]
        wide += [torch.tensordot(v, v, 1), torch.tensordot(m, m, 2)]
        narrow = [torch.einsum("i,i->", v, v), torch.einsum("ij,j->i", m, v)]
        narrow += [torch.tensordot(m, v, 1), torch.tensordot(v, v, 0)]
    assert [x.dtype for x in wide] == [SINGLE] * 6
    assert [x.dtype for x in narrow] == [BF16] * 4


def test_float64_integers_and_out_are_left_alone() -> None:
    x = torch.randn(2, 2, dtype=DOUBLE)
    counts = torch.ones(2, 2, dtype=torch.int64)
    result = torch.zeros(2, 2)
    with torch.autocast("cpu"):
        assert (x @ x).dtype == DOUBLE
        assert (counts @ counts).dtype == torch.int64
        torch.mm(result, result, out=result)
        single = torch.full((2, 2), 1 + 2**-12)
        assert torch.ones(2, 2).addmm_(single, torch.eye(2)).tolist() == (single + 1).tolist()
    assert result.dtype == SINGLE


@pytest.mark.usefixtures("as_on_cuda")
def test_lists_of_cuda() -> None:
    x = torch.randn(2, 3)
    low = x.half()
    with torch.autocast("cpu", HALF):
        assert (x @ x.t()).dtype == HALF
        for y in (low.exp(), low.softmax(1), low.pow(2), low**2, 2**low, low.sum(), low.log()):
            assert y.dtype == SINGLE
        assert nn.functional.layer_norm(low, (3,)).dtype == SINGLE
        assert torch.addcmul(x, low, low).dtype == SINGLE
        assert torch.addcmul(low, low, low).dtype == HALF
        assert (low + low).dtype == HALF
        with pytest.raises(RuntimeError, match="unsafe to autocast"):
            nn.functional.binary_cross_entropy(low, low)
    assert low.exp().dtype == HALF


def test_parameters_get_float32_gradients_through_one_cast() -> None:
    layer = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    with torch.autocast("cpu"):
        first, second = layer(x), layer(x)
        casts = state.autocast_state.casts
        assert len(casts) == 2
        loss = (first.float() - second.float() * 3).square().sum()
    assert not state.autocast_state.casts
    loss.backward()
    assert layer.weight.grad.dtype == layer.bias.grad.dtype == SINGLE
    low = layer.weight.detach().bfloat16().float().requires_grad_()
    bias = layer.bias.detach().bfloat16().float()
    y = nn.functional.linear(x.bfloat16().float(), low, bias)
    (y * -2).square().sum().backward()
    error = (layer.weight.grad - low.grad).abs().max() / low.grad.abs().max()
    assert error < 0.03


def test_a_cast_is_made_anew_for_a_changed_parameter_and_for_a_record() -> None:
    layer = nn.Linear(2, 1, bias=False)
    x = torch.ones(1, 2)
    with torch.autocast("cpu"):
        with torch.no_grad():
            assert not layer(x).requires_grad
        assert layer(x).requires_grad
        with torch.no_grad():
            layer.weight.fill_(2.0)
        assert layer(x).item() == 4.0
        with torch.autocast("cpu", cache_enabled=False):
            before = len(state.autocast_state.casts)
            layer(torch.ones(3, 2))
            assert len(state.autocast_state.casts) == before


def test_nesting_and_state() -> None:
    x = torch.randn(2, 2)
    assert not torch.is_autocast_enabled("cpu") and not torch.is_autocast_cpu_enabled()
    with torch.autocast("cpu"):
        assert torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda")
        with torch.autocast("cpu", enabled=False):
            assert (x @ x).dtype == SINGLE
            with torch.autocast("cpu", dtype=HALF):
                assert torch.get_autocast_dtype("cpu") == HALF
                assert (x @ x).dtype == HALF
        assert (x @ x).dtype == BF16
    assert torch.get_autocast_cpu_dtype() == BF16
    torch.set_autocast_enabled("cpu", True)
    try:
        assert (x @ x).dtype == BF16
    finally:
        torch.set_autocast_enabled("cpu", False)
    assert (x @ x).dtype == SINGLE


def test_decorator_and_exceptions() -> None:
    x = torch.randn(2, 2)

    @torch.autocast("cpu")
    def product(x: Any) -> Any:
        """Documented."""
        return x @ x

    assert product(x).dtype == BF16 and product.__doc__ == "Documented."
    with pytest.raises(ZeroDivisionError), torch.amp.autocast("cpu"):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError), torch.autocast("cpu"):
        x @ torch.ones(3, 3)
    assert (x @ x).dtype == SINGLE


def test_other_threads_are_not_concerned() -> None:
    x = torch.randn(2, 2)
    found: list[Any] = []
    with torch.autocast("cpu"):
        thread = threading.Thread(target=lambda: found.append((x @ x).dtype))
        thread.start()
        thread.join()
    assert found == [SINGLE]


def test_no_trace_is_left() -> None:
    """Outside, the functions have the very code that they had before."""
    functions = list(lists.policies())
    with torch.autocast("cpu"):
        pass
    before = [f.__code__ for f in functions]
    with torch.autocast("cpu"):
        inside = [f.__code__ for f in functions]
        with torch.autocast("cpu", enabled=False):
            assert all(f.__code__ is code for f, code in zip(functions, before))
    assert not any(a is b for a, b in zip(before, inside))
    assert all(f.__code__ is code for f, code in zip(functions, before))


def test_every_name_of_the_lists_is_there() -> None:
    missing = {
        name
        for texts in lists._TEXTS.values()
        for text in texts.values()
        for name in text.split()
        if not lists._found(name)
    }
    assert missing <= {
        "Tensor.__rdiv__", "Tensor.addbmm_", "Tensor.baddbmm_", "Tensor.addmv_", "Tensor.addr_",
        "fractional_max_pool2d", "fractional_max_pool3d",
    }  # fmt: skip


def test_custom_functions() -> None:
    seen: list[Any] = []

    class Product(torch.autograd.Function):
        @staticmethod
        @custom_fwd(device_type="cpu", cast_inputs=SINGLE)
        def forward(ctx: Any, x: Any) -> Any:
            seen.append((x.dtype, torch.is_autocast_enabled("cpu")))
            return x @ x

        @staticmethod
        @custom_bwd(device_type="cpu")
        def backward(ctx: Any, grad: Any) -> Any:
            seen.append((grad.dtype, torch.is_autocast_enabled("cpu")))
            return grad

    class Free(Product):
        @staticmethod
        @custom_fwd(device_type="cpu")
        def forward(ctx: Any, x: Any) -> Any:
            seen.append((x.dtype, torch.is_autocast_enabled("cpu")))
            return x @ x

    x = torch.ones(2, 2, dtype=BF16, requires_grad=True)
    with torch.autocast("cpu"):
        one, two = Product.apply(x), Free.apply(x)
    assert (one.dtype, two.dtype) == (SINGLE, BF16)
    one.sum().backward()
    two.sum().backward()
    assert seen == [(SINGLE, False), (BF16, True), (SINGLE, False), (BF16, True)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: (nn.LSTM(4, 3), torch.randn(5, 2, 4)),
        lambda: (nn.TransformerEncoderLayer(4, 2, 8), torch.randn(3, 2, 4)),
        lambda: (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.GroupNorm(1, 2)),
            torch.randn(2, 1, 5, 5),
        ),
        lambda: (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), torch.randn(3, 4)),
    ],
    ids=["lstm", "transformer", "conv", "norm"],
)
def test_models_train(make: Any) -> None:
    """Every layer takes what the one before gives; the gradient is near that of float32."""
    torch.manual_seed(0)
    model, x = make()
    model.eval()

    def gradients(enabled: bool) -> Any:
        with torch.autocast("cpu", enabled=enabled):
            y = model(x)
            y = y[0] if isinstance(y, tuple) else y
            loss = y.float().square().mean()
        loss.backward()
        found = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
        assert all(p.grad.dtype == SINGLE for p in model.parameters())
        model.zero_grad()
        return found

    low, exact = gradients(True), gradients(False)
    assert (low - exact).norm() < 0.05 * exact.norm()
    assert low.tolist() != exact.tolist()


def test_with_vmap() -> None:
    """Both at once, either inside the other; nothing is left of them."""
    from tritorch.func import vmap

    x, w = torch.randn(3, 2, 2), torch.randn(2, 2)
    code = torch.matmul.__code__
    expected = (x.bfloat16() @ w.bfloat16()).float().tolist()

    @torch.autocast("cpu")
    def low(x: Any) -> Any:
        y = x @ w
        assert y.dtype == BF16
        return y

    for _ in range(2):
        with torch.autocast("cpu"):
            inside = vmap(lambda x: x @ w)(x)
        outside = vmap(low)(x)
        assert inside.dtype == outside.dtype == BF16
        assert inside.float().tolist() == outside.float().tolist() == expected
        assert vmap(lambda x: x @ w)(x).tolist() == (x @ w).tolist()
        assert torch.matmul.__code__ is code


def test_wrong_use() -> None:
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'tpu'"):
        torch.autocast("tpu")
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
        torch.autocast(torch.device("cpu"))  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="only supports dtypes of torch.bfloat16"):
        context = torch.autocast("cpu", SINGLE)
    with context:
        assert not torch.is_autocast_enabled("cpu")
    with pytest.raises(TypeError, match="requires a callable, but got int"):
        torch.autocast("cpu")(3)  # type: ignore[arg-type]
    assert torch.amp.is_autocast_available("cpu")
    assert not torch.amp.is_autocast_available("tpu")
