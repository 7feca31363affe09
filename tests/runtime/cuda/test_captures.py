"""Recording graphs, by the rules of CUDA's captures (see `fake_captures`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import tritorch as torch
from tests.runtime.cuda.fake_driver import FakeDriver
from tests.runtime.cuda.simulated import simulated_gpu
from tritorch.errors import AcceleratorError
from tritorch.runtime import recording
from tritorch.runtime.cuda.target import CUDATarget

Gpu = tuple[CUDATarget, FakeDriver]
cuda = torch.cuda


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    with simulated_gpu() as found:
        yield found
    assert not recording.device_captures and not found[1].captures.under_way


def recorded(work: Callable[[], torch.Tensor]) -> tuple[cuda.CUDAGraph, torch.Tensor]:
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        result = work()
    return graph, result


def test_graphs(gpu: Gpu) -> None:
    _, driver = gpu
    x = torch.ones(5, device="cuda")
    (x * 2).exp().sum()  # compiles
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        y = (x * 2).exp()
        total = y.sum()
    before = len(driver.launches)
    x.fill_(0)
    recorded.replay()
    assert total.item() == 5.0
    assert len(driver.launches) - before == 1, (
        "a replay launches no kernel of its own: the fill did"
    )
    kept = y.data_ptr()
    del y, total
    assert all(torch.empty(5, device="cuda").data_ptr() != kept for _ in range(50))
    with pytest.raises(RuntimeError, match="it captured already"):
        recorded.capture_begin()
    recorded.reset()
    with pytest.raises(RuntimeError, match="nothing was captured"):
        recorded.replay()
    with pytest.raises(RuntimeError, match="the default stream cannot capture"):
        torch.cuda.CUDAGraph().capture_begin()
    assert not torch.cuda.is_current_stream_capturing()


def test_replays_draw_new_random_numbers(gpu: Gpu) -> None:
    """Those that one more eager step would draw; the masks of a backward pass are its own."""

    def step(x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.dropout(x * 2, 0.5)
        (grad,) = torch.autograd.grad(y.sum(), x)
        return torch.stack([y.detach(), grad, torch.rand(64, device="cuda")])

    x = torch.ones(64, device="cuda", requires_grad=True)
    torch.manual_seed(5)
    expected = [step(x).tolist() for _ in range(4)]
    assert expected[0] != expected[1]
    torch.manual_seed(5)
    assert step(x).tolist() == expected[0]
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        result = step(x)
    for turn in (1, 2, 3):
        recorded.replay()
        assert result.tolist() == expected[turn]
        assert ((result[0] > 0) == (result[1] > 0)).all().item()
    recorded.reset()
    assert step(x).tolist() != expected[3]


def test_graphed_callables(gpu: Gpu) -> None:
    layer = torch.nn.Linear(4, 2).cuda()
    with torch.no_grad():
        quick = torch.cuda.make_graphed_callables(layer, (torch.zeros(3, 4, device="cuda"),))
        x = torch.randn(3, 4, device="cuda")
        np.testing.assert_allclose(quick(x).cpu().numpy(), layer(x).cpu().numpy(), rtol=1e-6)


def test_what_is_met_first_in_a_recording_works_before_any_replay(gpu: Gpu) -> None:
    """Code, plans and their tables are made aside, at once: eager calls need no replay before."""
    values = [torch.arange(3.0 + n, device="cuda") for n in range(5)]
    p = torch.ones(6, device="cuda", requires_grad=True)
    p.grad = torch.full((6,), 0.5, device="cuda")
    optimizer = torch.optim.AdamW([p], lr=0.1, capturable=True)

    def work() -> torch.Tensor:
        optimizer.step()
        return torch.cat(values).cumsum(0).sort(descending=True)[0] @ torch.ones(25, device="cuda")

    graph, result = recorded(work)
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 1, "its state was made at once"
    eager = torch.cat(values).cumsum(0).sort(descending=True)[0] @ torch.ones(25, device="cuda")
    for turn in (2, 3):
        graph.replay()
        assert result.item() == eager.item() > 0
        assert optimizer.state[p]["step"].item() == turn
    assert p.tolist() != [1.0] * 6


def test_recorded_and_eager_steps_have_their_own_gradients(gpu: Gpu) -> None:
    """The table of addresses that a recorded step reads is the graph's."""
    p = torch.zeros(4, device="cuda", requires_grad=True)
    optimizer = torch.optim.AdamW([p], lr=1.0, betas=(0.0, 0.0), weight_decay=0.0, capturable=True)
    up, down = torch.full((4,), -1.0, device="cuda"), torch.ones(4, device="cuda")

    def step(grad: torch.Tensor) -> None:
        p.grad = grad
        optimizer.step()

    step(up)
    assert p.tolist() == [1.0] * 4
    graph, _ = recorded(lambda: step(up))
    step(down)
    graph.replay()
    step(down)
    assert p.tolist() == [0.0] * 4
    graph.replay()
    graph.replay()
    step(down)
    assert p.tolist() == [1.0] * 4


def test_streams_that_take_part_use_the_graphs_memory(gpu: Gpu) -> None:
    target, _ = gpu
    x, side = torch.ones(1000, device="cuda"), cuda.Stream()
    x + 1

    def work() -> torch.Tensor:
        main = cuda.current_stream()
        side.wait_stream(main)
        with cuda.stream(side):
            y = x + 1  # replays write here
        main.wait_stream(side)
        z = y * 2
        y.record_stream(main)
        return z

    graph, z = recorded(work)
    with cuda.stream(side):
        others = [torch.zeros(1000, device="cuda") for _ in range(30)]
    graph.replay()
    assert z.tolist() == [4.0] * 1000
    assert all(not one.any().item() for one in others), "a replay wrote into somebody's tensor"
    assert len(target.allocator()._captures) == 0


def test_a_stream_that_was_not_waited_for_is_an_error(gpu: Gpu) -> None:
    x, side = torch.ones(4, device="cuda"), cuda.Stream()
    x + 1

    def forgets() -> torch.Tensor:
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            return x + 1

    def draws() -> torch.Tensor:
        forgets()
        return torch.rand(4, device="cuda")

    torch.rand(4, device="cuda")
    with pytest.raises(AcceleratorError, match="904"):
        recorded(forgets)
    with pytest.raises(AcceleratorError, match="random numbers are drawn while another stream"):
        recorded(draws)
    assert recorded(lambda: x + 2)[0]._graph._capture.nodes == 1  # nothing is left behind


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: cuda.synchronize(),
        lambda x: cuda.current_stream().synchronize(),
        lambda x: cuda.Stream().record_event().synchronize(),
    ],
)
def test_waiting_is_refused_and_spoils_nothing(gpu: Gpu, wait: Callable[..., object]) -> None:
    x = torch.ones(4, device="cuda")

    def work() -> torch.Tensor:
        with pytest.raises(AcceleratorError, match="not permitted when stream is capturing"):
            wait(x)
        return x + 3

    graph, y = recorded(work)
    graph.replay()
    assert y.tolist() == [4.0] * 4


def test_copies_from_the_host(gpu: Gpu) -> None:
    """Numbers are part of the recording; page-locked memory is read again, and kept for it."""
    x = torch.zeros(3, device="cuda")
    pinned = [torch.tensor([1.0, 2.0, 3.0]).pin_memory()]
    there = torch.zeros(3).pin_memory()

    def work() -> torch.Tensor:
        with pytest.raises(RuntimeError, match="unless the CPU tensor is pinned"):
            x.copy_(torch.ones(3))
        with pytest.raises(RuntimeError, match="unless the CPU tensor is pinned"):
            x.cpu()
        x.copy_(pinned[0], non_blocking=True)
        total = x + torch.tensor([10.0, 20.0, 30.0], device="cuda")
        there.copy_(total, non_blocking=True)
        return total

    graph, y = recorded(work)
    graph.replay()
    assert y.tolist() == [11.0, 22.0, 33.0]
    pinned[0].fill_(5.0)
    graph.replay()
    assert y.tolist() == there.tolist() == [15.0, 25.0, 35.0]
    address = pinned.pop().data_ptr()
    others = [torch.zeros(3).pin_memory() for _ in range(4)]
    assert all(one.data_ptr() != address for one in others), "replays still read it"
    graph.replay()
    assert y.tolist() == [15.0, 25.0, 35.0]
    graph.reset()
    del others
    assert address in {one.data_ptr() for one in [torch.zeros(3).pin_memory() for _ in range(9)]}


def test_what_goes_wrong_inside_is_what_the_program_hears(gpu: Gpu) -> None:
    graph = cuda.CUDAGraph()
    with pytest.raises(ZeroDivisionError), cuda.graph(graph):
        torch.ones(3, device="cuda")
        raise ZeroDivisionError
    with pytest.raises(AcceleratorError, match="nothing was captured"):
        graph.replay()
    with cuda.graph(graph):  # it can record again
        y = torch.ones(3, device="cuda") * 2
    graph.replay()
    assert y.tolist() == [2.0] * 3


def test_a_spoilt_recording_leaves_nothing(gpu: Gpu) -> None:
    _, driver = gpu
    graph = cuda.CUDAGraph()
    with pytest.raises(AcceleratorError, match="901"), cuda.graph(graph):
        torch.ones(3, device="cuda")
        driver.captures.under_way[0].spoilt = True  # as another library's call would
        with pytest.raises(AcceleratorError):
            torch.ones(3, device="cuda")
    with pytest.raises(AcceleratorError, match="nothing was captured"):
        graph.replay()
    assert cuda.current_stream() == cuda.default_stream()


def test_recordings_in_recordings(gpu: Gpu) -> None:
    outer, inner = cuda.CUDAGraph(), cuda.CUDAGraph()
    x = torch.ones(3, device="cuda")
    with cuda.graph(outer):
        y = x + 1
        with pytest.raises(AcceleratorError, match="this thread records a graph already"):
            inner.capture_begin()
        with pytest.raises(AcceleratorError, match="no capture is under way"):
            inner.capture_end()
        y += 1
    outer.replay()
    assert y.tolist() == [3.0] * 3
    with cuda.graph(inner):  # a recording may replay another graph, and drop one
        outer.replay()
        gone = y * 2
    dropped, _ = recorded(lambda: x + 7)
    with cuda.graph(cuda.CUDAGraph()):
        del dropped
    inner.replay()
    assert gone.tolist() == [6.0] * 3


def test_a_replay_goes_to_the_device_of_the_recording(gpu: Gpu) -> None:
    with cuda.device(1):
        x = torch.ones(3, device="cuda")
        graph, y = recorded(lambda: x + torch.rand(3, device="cuda"))
    gpu[1].lazy = True
    graph.replay()
    assert gpu[1]._queues[-1] and not gpu[1]._queues[0], "in the order of that device's stream"
    gpu[1].progress()
    assert cuda.current_device() == 0
    assert (y >= 1).all().item() and str(y.device) == "cuda:1"


def test_graphs_share_memory(gpu: Gpu) -> None:
    first = cuda.CUDAGraph()
    with cuda.graph(first):
        x = torch.zeros(1 << 20, device="cuda") + 1
        place = x.data_ptr()
        del x
    before = cuda.memory_reserved()
    second, y = cuda.CUDAGraph(), None
    with cuda.graph(second, pool=first.pool()):
        y = torch.zeros(1 << 20, device="cuda")
    assert cuda.memory_reserved() == before
    assert abs(y.data_ptr() - place) <= 8 << 20


def test_graphs_of_several_devices_share_a_handle(gpu: Gpu) -> None:
    pool, found = cuda.graph_pool_handle(), []
    for n in (0, 1):
        with cuda.device(n):
            graph = cuda.CUDAGraph()
            with cuda.graph(graph, pool=pool):
                found.append(torch.zeros(1 << 20, device=f"cuda:{n}"))
            graph.replay()
    assert [one.any().item() for one in found] == [False, False]
    del graph
    found.clear()
    cuda.empty_cache()
    assert not pool.large.free, "both devices have their memory back"


def test_memory_of_graphs_that_are_gone_is_used_again(gpu: Gpu) -> None:
    target, _ = gpu
    for _ in range(3):
        graph, y = recorded(lambda: torch.zeros(1 << 20, device="cuda"))
        del graph
        cuda.empty_cache()
        assert len(target.allocator()._pairs) == 2, "the tensor still lives there"
        del y
        cuda.empty_cache()
        assert len(target.allocator()._pairs) == 1


def test_other_threads_work_meanwhile(gpu: Gpu) -> None:
    """They allocate, load code, pin memory and ask for events: nothing of that is forbidden."""
    _, driver = gpu
    x = torch.ones(3, device="cuda")
    found: list[object] = []

    def elsewhere() -> None:
        side = cuda.Stream()
        big = torch.zeros(3 << 20, device="cuda")
        big.record_stream(side)
        del big
        pinned = torch.arange(1000.0).pin_memory()
        found.append((pinned.to("cuda", non_blocking=True).tan() + 1).shape)
        found.append(torch.zeros(5 << 20, device="cuda").shape)

    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        y = x + 1
        assert CUDATarget(driver).error_cell("{index}")
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    graph.replay()
    assert found == [(1000,), (5 << 20,)] and y.tolist() == [2.0] * 3


def test_launches_that_block_do_not_block_here(gpu: Gpu) -> None:
    from tritorch.config import config

    x = torch.ones(7, 3, 2, device="cuda")
    with config(launch_blocking=1):
        graph, y = recorded(lambda: x.sinh())
    graph.replay()
    np.testing.assert_allclose(y.cpu().numpy(), np.sinh(np.ones((7, 3, 2))), rtol=1e-6)


# ---- make_graphed_callables


def test_graphed_modules_train(gpu: Gpu) -> None:
    """Forward and backward passes are replayed; the parameters go the same way as without."""

    def trained(graphed: bool) -> list[float]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        model.cuda()
        if graphed:
            sample = torch.zeros(3, 4, device="cuda")
            assert cuda.make_graphed_callables(model, (sample,)) is model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        found = []
        for turn in range(4):
            x = torch.full((3, 4), 0.1 * turn, device="cuda")
            model(x).square().sum().backward()
            if turn % 2:  # gradients of two steps come together
                optimizer.step()
                optimizer.zero_grad()
            found.append(model(x).sum().item())
        model.eval()
        return [*found, model(torch.ones(5, 4, device="cuda")).sum().item()]

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-5)


def test_graphed_functions_of_several_tensors(gpu: Gpu) -> None:
    def first(x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return x * w, {"sum": (x + w).sum()}

    def second(x: torch.Tensor) -> torch.Tensor:
        return x.exp()

    w = torch.ones(3, device="cuda", requires_grad=True)
    x = torch.zeros(3, device="cuda")
    h = torch.zeros(3, device="cuda", requires_grad=True)
    one, two = cuda.make_graphed_callables((first, second), ((x, w), (h,)))
    value = torch.tensor([1.0, 2.0, 3.0], device="cuda")
    weight = torch.tensor([0.5, 0.5, 0.5], device="cuda", requires_grad=True)
    product, rest = one(value, weight)
    (two(product).sum() + rest["sum"]).backward()
    expected = np.array([1.0, 2.0, 3.0]) * np.exp([0.5, 1.0, 1.5]) + 1
    np.testing.assert_allclose(weight.grad.cpu().numpy(), expected, rtol=1e-6)
    assert rest["sum"].item() == 7.5
    with pytest.raises(RuntimeError, match="the recording has 2 tensors, the call 1"):
        one(value)
    with pytest.raises(RuntimeError, match="tensors only"):
        cuda.make_graphed_callables(second, (3,))
    module = torch.nn.Linear(3, 3).cuda()
    module.register_forward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="must not have hooks"):
        cuda.make_graphed_callables(module, (x,))
