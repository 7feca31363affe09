"""What programs written for PyTorch say around their training: each line runs and holds."""

from __future__ import annotations

import os
import threading
import warnings

import numpy as np
import pytest
from scipy import signal

import tritorch as torch
from tritorch import nn
from tritorch.ops import placement

#: statements that must run, and an expression that must be true after them
IDIOMS = [
    ("import tritorch.distributed as dist", "not (dist.is_available() and dist.is_initialized())"),
    ("", "torch.version.cuda is None and torch.version.__version__ == torch.__version__"),
    ("", "not torch.mps.is_available() and not torch.xpu.is_available()"),
    ("import tritorch.multiprocessing as mp", "mp.get_context('fork') is not None"),
    ("mp = torch.multiprocessing", "mp.get_sharing_strategy() in mp.get_all_sharing_strategies()"),
    ("f = torch.jit.script(abs)", "f(-1) == 1 and not torch.jit.is_scripting()"),
    ("@torch.jit.ignore\ndef f(): return 1", "f() == 1"),
    ("@torch.jit.ignore(drop=True)\ndef f(): return 1", "f() == 1"),
    ("m = nn.ReLU()", "torch.jit.trace(m, torch.ones(1)) is m"),
    ("class M(torch.jit.ScriptModule): pass", "isinstance(M(), nn.Module)"),
    ("x: torch.jit.Final[int] = 1", "torch.jit.isinstance([x], list[int])"),
    ("@torch.compiler.disable\ndef f(): return 1", "f() == 1"),
    ("", "not torch.compiler.is_compiling()"),
    (
        "x = torch.ones(1)\n"
        "names = [torch.typename(x) for x in (x, nn.Parameter(x).half(), 3)]",
        "names == ['torch.FloatTensor', 'torch.HalfTensor', 'int']",
    ),
    ("", "[torch.typename(x) for x in (int, len)] == ['int', 'len']"),
    ("from tritorch.nn.modules.utils import _pair, _triple", "_pair(3) == (3, 3) == _pair([3, 3])"),
    ("import tritorch.utils.data.dataloader as d", "d.DataLoader is torch.utils.data.DataLoader"),
    (
        "from tritorch.distributions.categorical import Categorical\n"
        "from tritorch.distributions.multivariate_normal import MultivariateNormal",
        "Categorical is torch.distributions.Categorical",
    ),
    (
        "from tritorch.nn.attention import SDPBackend, sdpa_kernel\n"
        "q = torch.ones(1, 1, 2, 4)\n"
        "with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):\n"
        "    y = nn.functional.scaled_dot_product_attention(q, q, q)",
        "y.equal(q)",
    ),
    ("torch.backends.cuda.enable_flash_sdp(True)", "torch.backends.cuda.flash_sdp_enabled()"),
    (
        "m = torch.backends.cuda.matmul\n"
        "m.fp32_precision = 'tf32'\n"
        "found = m.allow_tf32, torch.get_float32_matmul_precision()\n"
        "m.fp32_precision = 'ieee'",
        "found == (True, 'high') and not m.allow_tf32",
    ),
    (
        "with torch.backends.cuda.sdp_kernel(enable_math=False): pass",
        "torch.backends.cuda.is_built()",
    ),
    ("s = torch.cuda.get_rng_state_all(); torch.cuda.set_rng_state_all(s)", "s == []"),
    ("with torch.device('cpu') as d: x = torch.ones(1)", "x.device == d"),
    ("", "torch.ones(2).type(torch.DoubleTensor).dtype is torch.float64"),
    (
        "x = torch.ones(2, requires_grad=True)\n"
        "g, = torch.autograd.grad(x.sum(), x, only_inputs=True)",
        "g.equal(torch.ones(2))",
    ),
    (
        "x = torch.tensor([-2.0, 3.0], requires_grad=True)\n"
        "nn.RReLU(0.25, 0.75, inplace=True).eval()(x * 1).sum().backward()",
        "x.grad.tolist() == [0.5, 1.0]",
    ),
    (
        "class Half(torch.optim.lr_scheduler._LRScheduler):\n"
        "    def get_lr(self): return [b / 2 for b in self.base_lrs]\n"
        "s = Half(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0))",
        "s.get_last_lr() == [0.5]",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "holds"), IDIOMS, ids=range(len(IDIOMS)))
def test_idiom(statements: str, holds: str) -> None:
    names = {"torch": torch, "nn": nn}
    exec(statements, names)
    assert eval(holds, names)


@pytest.fixture
def fresh_defaults():
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def test_default_tensor_type(fresh_defaults: None) -> None:
    torch.set_default_tensor_type(torch.DoubleTensor)
    assert torch.ones(1).dtype is torch.float64
    torch.set_default_tensor_type("torch.FloatTensor")
    assert torch.ones(1).dtype is torch.float32
    with pytest.raises(TypeError, match="floating-point types"):
        torch.set_default_tensor_type("torch.LongTensor")


def test_blocks_of_devices_nest() -> None:
    with torch.device("cpu"), pytest.raises(ZeroDivisionError), torch.device("cpu"):
        _ = 1 / 0
    assert torch.get_default_device() == torch.device("cpu")
    assert not placement._default.outer


def test_a_compiled_module_is_the_module_with_a_prefix() -> None:
    within = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.compile(within, mode="max-autotune")
        assert torch.compile(fullgraph=True)(abs) is abs
    assert list(model.state_dict())[:2] == ["_orig_mod.0.weight", "_orig_mod.0.bias"]
    model.eval()
    assert not within[1].training and not model.training
    model.note = 3
    assert within.note == 3
    x = torch.randn(4, 2)
    assert model(x).equal(within(x))
    assert torch.compile(within, disable=True) is within
    with pytest.raises(RuntimeError, match="Either mode or options"):
        torch.compile(within, mode="default", options={})


@pytest.mark.parametrize("length", [0, 1, 2, 3, 8, 33])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "bartlett", "kaiser"])
def test_windows(name: str, periodic: bool, length: int) -> None:
    window = getattr(torch, f"{name}_window")
    found = window(length, periodic, dtype=torch.float64)
    kind = ("kaiser", 12.0) if name == "kaiser" else name
    wanted = signal.get_window(kind, length, fftbins=periodic) if length else np.zeros(0)
    np.testing.assert_allclose(found.numpy(), wanted, 1e-12, 1e-14)
    assert window(length, periodic).dtype is torch.float32
    with pytest.raises(RuntimeError, match="floating"):
        window(3, dtype=torch.int64)


def _end(index: int, failing: int) -> None:
    """One process fails, the others wait for it."""
    if index == failing:
        os._exit(3)
    if failing >= 0:
        threading.Event().wait()


def test_processes_end_with_the_first_that_fails() -> None:
    mp = torch.multiprocessing
    assert mp.spawn(_end, (-1,), nprocs=2, start_method="fork") is None
    with pytest.raises(RuntimeError, match="process 1 terminated with exit code 3"):
        mp.spawn(_end, (1,), nprocs=3, start_method="fork")
    started = mp.spawn(_end, (-1,), nprocs=2, join=False, start_method="fork")
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0]
