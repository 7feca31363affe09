"""On a real GPU: what a simulated one cannot show. `--device cuda` only."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
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


def recorded(work: Callable[[], torch.Tensor]) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph, result


def test_what_is_met_first_in_a_recording() -> None:
    """Kernels are compiled and loaded, plans and tables made, while the stream captures."""
    values = [torch.arange(3.0 + n, device="cuda") for n in range(6)]
    p = torch.ones(7, device="cuda", requires_grad=True)
    p.grad = torch.ones(7, device="cuda")
    optimizer = torch.optim.AdamW([p], lr=0.1, capturable=True)

    def work() -> torch.Tensor:
        optimizer.step()
        return torch.cat(values).cumsum(0).sort(descending=True)[0].lgamma()

    graph, result = recorded(work)
    optimizer.step()
    eager = torch.cat(values).cumsum(0).sort(descending=True)[0].lgamma()
    for turn in (2, 3):
        graph.replay()
        assert optimizer.state[p]["step"].item() == turn
        assert torch.equal(result, eager)


def test_recordings_of_several_streams_and_host_memory() -> None:
    side, x = torch.cuda.Stream(), torch.zeros(1000, device="cuda")
    pinned = torch.ones(1000).pin_memory()

    def work() -> torch.Tensor:
        with pytest.raises(RuntimeError, match="unless the CPU tensor is pinned"):
            x.copy_(torch.ones(1000))
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            x.sum().item()
        x.copy_(pinned, non_blocking=True)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            y = x + torch.tensor(list(range(1000)), device="cuda")
        torch.cuda.current_stream().wait_stream(side)
        return y * 2 + torch.rand(1000, device="cuda") * 0

    graph, y = recorded(work)
    others = [torch.zeros(1000, device="cuda") for _ in range(50)]
    for number in (1, 5):
        pinned.fill_(number)
        graph.replay()
        torch.cuda.synchronize()
        assert y.tolist() == [2.0 * (number + n) for n in range(1000)]
    assert not any(one.any().item() for one in others)


def test_graphed_modules_train() -> None:
    found = []
    for graphed in (False, True):
        torch.manual_seed(0)
        layers = torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8)
        model = torch.nn.Sequential(*layers)
        model.cuda()
        if graphed:
            torch.cuda.make_graphed_callables(model, (torch.zeros(32, 64, device="cuda"),))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for turn in range(5):
            optimizer.zero_grad()
            loss = model(torch.full((32, 64), 0.1 * turn, device="cuda")).square().mean()
            loss.backward()
            optimizer.step()
        found.append(loss.item())
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_another_process_and_the_end_of_this_one() -> None:
    program = (
        "import os, tritorch as torch\n"
        "assert torch.cuda.is_available() and not torch.cuda.is_initialized()\n"
        "if not os.fork():\n"
        "    try: torch.ones(2, device='cuda')\n"
        "    except RuntimeError as error: print('TOLD', error)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "side, event = torch.cuda.Stream(), torch.cuda.Event()\n"
        "x = torch.ones(5, device='cuda'); x.record_stream(side); event.record(side)\n"
        "pinned = torch.ones(5).pin_memory(); x.copy_(pinned, non_blocking=True)\n"
        "graph = torch.cuda.CUDAGraph()\n"
        "with torch.cuda.graph(graph): y = x + 1\n"
        "import builtins; builtins.kept = [x, y, event, pinned, graph]; print('END')\n"
    )
    out = run_alone(program)
    assert "TOLD cuda: this process is a fork" in out and out.endswith("END\n"), out


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
        with module.cuda.Stream(non_blocking=True):  # its work is waited for, and it for ours
            late = module.arange(1 << 24, dtype="float32") * 2
            found = torch.as_tensor(late)
        assert found[-1].item() == 2 * ((1 << 24) - 1) and str(found.device) == "cuda:0"


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
