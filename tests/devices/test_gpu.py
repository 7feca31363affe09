"""On a real GPU: what a simulated one cannot show. `--device cuda` only."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import tritorch as torch


@pytest.fixture(autouse=True)
def real(device_kind: str) -> None:
    if device_kind != "cuda":
        pytest.skip("needs a GPU")


pytestmark = pytest.mark.gpu


def run_alone(program: str, **environment: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=300, env={**os.environ, **environment},
    )  # fmt: skip
    return done.stdout + done.stderr


def test_events_measure_time() -> None:
    x = torch.randn(1 << 26, device="cuda")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    (x * 2).sum().item()
    start.record()
    for _ in range(10):
        y = x * 2
    end.record()
    end.synchronize()
    seconds = start.elapsed_time(end) / 10 * 1e-3
    assert 1e10 < 2 * y.nbytes / seconds < 2e13, "bytes a second"


def test_streams_overlap_and_wait() -> None:
    side = torch.cuda.Stream()
    x = torch.arange(1 << 20, dtype=torch.float32, device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        y = x * 3
    x.record_stream(side)
    torch.cuda.current_stream().wait_stream(side)
    assert (y - 3 * x).abs().max().item() == 0


@pytest.mark.parametrize("nbytes", [1000, 100_000, 50_000_001])
@pytest.mark.parametrize("pinned", [False, True])
def test_copies(nbytes: int, pinned: bool) -> None:
    values = np.random.default_rng(0).integers(0, 255, nbytes, np.uint8)
    x = torch.from_numpy(values)
    x = x.pin_memory() if pinned else x
    y = x.to("cuda", non_blocking=True)
    np.testing.assert_array_equal(y.cpu().numpy(), values)


def test_out_of_memory_and_on() -> None:
    free, _ = torch.cuda.mem_get_info()
    with pytest.raises(torch.cuda.OutOfMemoryError, match="Tried to allocate"):
        torch.empty(free * 2, dtype=torch.uint8, device="cuda")
    assert torch.ones(10, device="cuda").sum().item() == 10


def test_a_graph_is_replayed() -> None:
    x = torch.ones(1000, device="cuda")
    (x.exp() + 1).sum()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        total = (x.exp() + 1).sum()
    x.fill_(0)
    graph.replay()
    assert total.item() == 2000


def test_illegal_access_names_the_operation() -> None:
    program = (
        "import tritorch as torch\n"
        "x = torch.ones(1000, device='cuda')\n"
        "(x + 1).sum().item()\n"
        "x._address = 64\n"
        "x.exp()\n"
        "try: torch.cuda.synchronize()\n"
        "except RuntimeError as error: print('TOLD', error)\n"
    )
    assert "exp" in run_alone(program).split("TOLD")[1]
    waiting = program.replace("x.exp()\ntry: ", "try:\n    x.exp(); ")
    blocking = run_alone(waiting, TRITORCH_LAUNCH_BLOCKING="1")
    assert "in kernel exp" in blocking


@pytest.mark.parametrize("library", ["cupy", "torch", "jax"])
def test_tensors_are_exchanged(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # JAX takes three quarters of the memory otherwise, and others need it.
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about each other
        module: Any = pytest.importorskip("jax.numpy" if library == "jax" else library)
    ours = torch.arange(12.0, device="cuda").reshape(3, 4)
    theirs = module.from_dlpack(ours)
    assert float(theirs.sum()) == 66
    back = torch.from_dlpack(theirs * 2)
    assert back.is_cuda and back.sum().item() == 132
    if library == "cupy":
        assert torch.as_tensor(theirs).data_ptr() == ours.data_ptr()
        assert float(module.asarray(ours).sum()) == 66


def test_descriptors_made_by_a_kernel() -> None:
    from tritorch.kernel_source import KernelSource
    from tritorch.runtime import get_target

    if torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("sm_90 and later copy tiles")
    text = (
        "@triton.jit\n"
        "def tiles(x, y, n, m):\n"
        "    source = tl.make_tensor_descriptor(x, [n, m], [m, 1], [64, 64])\n"
        "    target = tl.make_tensor_descriptor(y, [n, m], [m, 1], [64, 64])\n"
        "    i = tl.program_id(0) * 64\n"
        "    target.store([i, 0], source.load([i, 0]))\n"
    )
    signature = {"x": "*fp16", "y": "*fp16", "n": "i32", "m": "i32"}
    x = torch.randn(256, 64, device="cuda").half()
    y = torch.zeros_like(x)
    target = get_target("cuda")
    kernel = target.compile(KernelSource("tiles", text), signature, {})
    target.bind(kernel, (4,), [None, None, 256, 64])(x.data_ptr(), y.data_ptr())
    assert torch.equal(x, y)
