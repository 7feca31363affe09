"""GradScaler: PyTorch's rules of growth and backing off, one launch, errors, state."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import tritorch as torch
from tritorch.amp import GradScaler
from tritorch.runtime.statistics import snapshot

SHAPES = ((3,), (17, 5), (), (1, 40_000))


def parameters() -> list[Any]:
    return [torch.nn.Parameter(torch.ones(shape)) for shape in SHAPES]


def scaler(**options: Any) -> GradScaler:
    return GradScaler("cpu", **{"init_scale": 8.0, "growth_interval": 3, **options})


def test_gradients_are_unscaled_in_one_launch() -> None:
    ps = parameters()
    optimizer = torch.optim.SGD(ps, lr=1.0)
    made = scaler()
    made.scale(sum((p * p).sum() for p in ps)).backward()
    assert ps[0].grad.tolist() == [16.0] * 3
    for count in range(2):
        before = snapshot()
        made.unscale_(optimizer)
        launched = (snapshot() - before).launches_by_kernel
        assert sum(n for name, n in launched.items() if "unscale" in name) == 1
        assert ps[0].grad.tolist() == [2.0] * 3
        assert all((p.grad == (2.0 if not count else 0.25)).all() for p in ps[1:])
        made.update(8.0)
        ps[0].grad = torch.full((3,), 16.0)
    made.update(8.0)


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_a_step_with_infinities_is_skipped(bad: float) -> None:
    ps = parameters()
    optimizer = torch.optim.SGD(ps, lr=1.0)
    made = scaler()
    made.scale(torch.ones(()))
    for p in ps:
        p.grad = torch.ones_like(p)
    ps[3].grad[0, 39_999] = bad
    assert made.step(optimizer) is None
    assert all((p == 1).all() for p in ps)
    made.update()
    assert made.get_scale() == 4.0
    ps[3].grad = torch.ones_like(ps[3])
    made.step(optimizer)
    assert (ps[3] == 0.75).all()


def test_growth_and_backing_off() -> None:
    """Seven good steps, a bad one, four good ones: what PyTorch's rule gives."""
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([p], lr=0.0)
    made = scaler()
    scales, trackers = [], []
    for bad in [False] * 7 + [True] + [False] * 4:
        p.grad = None
        made.scale(p.sum()).backward()
        if bad:
            p.grad.fill_(float("inf"))
        made.step(optimizer)
        made.update()
        scales.append(made.get_scale())
        trackers.append(made._get_growth_tracker())
    assert scales == [8, 8, 16, 16, 16, 32, 32, 16, 16, 16, 32, 32]
    assert trackers == [1, 2, 0, 1, 2, 0, 1, 0, 1, 2, 0, 1]


def test_a_scale_never_becomes_infinite() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    made = scaler(init_scale=2.0**127, growth_interval=1)
    made.scale(p.sum() * 0).backward()
    made.step(torch.optim.SGD([p], lr=0.0))
    made.update()
    assert made.get_scale() == 2.0**127


def test_clipping_between_and_two_optimizers() -> None:
    p, q = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    first, second = torch.optim.SGD([p], lr=1.0), torch.optim.SGD([q], lr=1.0)
    made = scaler()
    losses = made.scale([(p * 3).sum(), (q * 4).sum()])
    assert [loss.item() for loss in losses] == [48.0, 64.0]
    (losses[0] + losses[1]).backward()
    made.unscale_(first)
    torch.nn.utils.clip_grad_norm_([p], 1.0)
    made.step(first)
    q.grad[0] = float("nan")
    made.step(second)
    made.update()
    assert p.tolist() == pytest.approx([1 - 0.5**0.5] * 2)
    assert q.tolist() == [1.0, 1.0] and made.get_scale() == 4.0


def test_state_and_copies() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    made = scaler()
    made.scale(p.sum()).backward()
    made.step(torch.optim.SGD([p], lr=0.0))
    made.update()
    saved = made.state_dict()
    assert saved == {
        "scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 3,
        "_growth_tracker": 1,
    }  # fmt: skip
    other = GradScaler("cpu")
    other.load_state_dict(saved)
    assert other.state_dict() == saved
    assert pickle.loads(pickle.dumps(made)).state_dict() == saved
    assert copy.deepcopy(made).state_dict() == saved


def test_disabled() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    made = GradScaler("cpu", enabled=False)
    loss = p.sum()
    assert made.scale(loss) is loss and made.get_scale() == 1.0 and made.state_dict() == {}
    p.grad = torch.ones(1)
    made.unscale_(torch.optim.SGD([p], lr=1.0))
    made.step(torch.optim.SGD([p], lr=1.0))
    made.update()
    assert p.item() == 0.0
    if not torch.cuda.is_available():
        with pytest.warns(UserWarning, match="CUDA is not available"):
            assert not GradScaler().is_enabled()


def test_wrong_use() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([p], lr=1.0)
    made = scaler()
    with pytest.raises(AssertionError, match="did not use scaler"):
        made.step(optimizer)
    made.scale(torch.ones(()))
    with pytest.raises(AssertionError, match="No inf checks were recorded for this optimizer"):
        made.step(optimizer)
    made = scaler()
    made.scale(p.sum()).backward()
    made.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="has already been called on this optimizer"):
        made.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="Closure use is not currently supported"):
        made.step(optimizer, closure=lambda: None)
    made.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called since the last update"):
        made.step(optimizer)
    with pytest.raises(RuntimeError, match="is being called after step"):
        made.unscale_(optimizer)
    half = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
    half.grad = torch.ones_like(half)
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        made.unscale_(torch.optim.SGD([half], lr=1.0))
    with pytest.raises(AssertionError, match="growth factor must be"):
        GradScaler("cpu", growth_factor=1.0)


def test_older_names() -> None:
    """`torch.cuda.amp`: the same classes for GPUs; without one they do nothing, and say so."""
    from tritorch.cuda import amp

    assert amp.amp_definitely_not_available() == (not torch.cuda.is_available())
    with pytest.warns(FutureWarning, match="deprecated"):
        if torch.cuda.is_available():
            made = amp.GradScaler()
        else:
            with pytest.warns(UserWarning, match="CUDA is not available"):
                made = amp.GradScaler()
    assert isinstance(made, GradScaler) and made.is_enabled() == torch.cuda.is_available()
    with pytest.warns(FutureWarning, match="deprecated"):
        off = amp.autocast(enabled=False)
    assert isinstance(off, torch.autocast) and off.device == "cuda"
    with off:
        assert not torch.is_autocast_enabled("cuda")
