"""Tensors on "cuda" and `tritorch.cuda`, on a simulated GPU (see `simulated`)."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

import tritorch as torch
from tests.runtime.cuda.fake_driver import FakeDriver
from tests.runtime.cuda.simulated import simulated_gpu
from tritorch.layout import Layout
from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda.staging import PIECE_BYTES
from tritorch.runtime.cuda.target import CUDATarget

Gpu = tuple[CUDATarget, FakeDriver]


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    with simulated_gpu() as found:
        yield found


def test_copies_between_host_and_device(gpu: Gpu) -> None:
    _, driver = gpu
    x = torch.arange(12.0).reshape(3, 4)
    y = x.to("cuda")
    assert str(y.device) == "cuda:0" and y.is_cuda and y.get_device() == 0
    assert driver.on_device(y.data_ptr(), 48)
    np.testing.assert_array_equal(y.T.cpu().numpy(), x.numpy().T)
    assert y.cuda() is y and y.to("cuda:0") is y
    assert y.tolist() == x.tolist() and y[1, 2].item() == 6.0
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        y.numpy()
    np.testing.assert_array_equal(y.numpy(force=True), x.numpy())
    assert repr(y[0]) == "tensor([0., 1., 2., 3.], device='cuda:0')"
    assert y.to(torch.float64).to("cpu").dtype is torch.float64
    assert x.to("cuda", torch.int32).tolist() == x.int().tolist()


def test_copies_convert_and_broadcast(gpu: Gpu) -> None:
    y = torch.zeros(2, 3, device="cuda")
    y.copy_(torch.tensor([1, 2, 3]))
    assert y.tolist() == [[1.0, 2.0, 3.0]] * 2
    y[:, 1].copy_(torch.tensor([7.0, 8.0]))
    host = torch.zeros(3, 2, dtype=torch.float64)
    host.T.copy_(y)
    assert host.tolist() == [[1.0, 1.0], [7.0, 8.0], [3.0, 3.0]]
    torch.empty(0, device="cuda").copy_(torch.empty(0))


@pytest.mark.parametrize("nbytes", [1, 65_537, PIECE_BYTES, 2 * PIECE_BYTES + 3, 5 * PIECE_BYTES])
def test_large_copies_go_through_pinned_pieces(nbytes: int) -> None:
    with simulated_gpu(lazy=True):
        values = np.random.default_rng(1).integers(0, 255, nbytes, np.uint8)
        x = torch.from_numpy(values.copy())
        y = x.to("cuda")
        x.fill_(0)  # the source may change at once
        np.testing.assert_array_equal(y.cpu().numpy(), values)


def test_pinned_memory() -> None:
    with simulated_gpu(lazy=True) as (_, driver):
        x = torch.arange(1000.0)
        assert not x.is_pinned()
        pinned = x.pin_memory()
        assert pinned.is_pinned() and pinned.pin_memory() is pinned
        address = pinned.data_ptr()
        y = pinned.to("cuda", non_blocking=True)
        assert driver._queues[0], "a copy that does not block has not run yet"
        del pinned
        again = torch.zeros(1000).pin_memory()
        assert again.data_ptr() != address, "the stream still reads it"
        assert y.tolist() == x.tolist()
        addresses = {address, again.data_ptr()}
        del again
        assert {torch.zeros(1000).pin_memory().data_ptr() for _ in range(3)} <= addresses
        back = torch.empty(1000).pin_memory()
        back.copy_(y, non_blocking=True)
        torch.cuda.synchronize()
        assert back.tolist() == x.tolist()
        torch.cuda.empty_cache()
        with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
            y.pin_memory()


def test_creation(gpu: Gpu) -> None:
    assert torch.ones(2, device="cuda").tolist() == [1.0, 1.0]
    assert torch.tensor([3, 4], device="cuda:0").tolist() == [3, 4]
    assert torch.arange(3, device="cuda").tolist() == [0, 1, 2]
    torch.set_default_device("cuda")
    try:
        assert torch.full((2,), 5.0).is_cuda
    finally:
        torch.set_default_device(None)
    torch.manual_seed(3)
    here = torch.randn(50)
    torch.cuda.manual_seed_all(3)
    assert torch.randn(50, device="cuda").tolist() == here.tolist()
    with pytest.raises(RuntimeError, match="invalid device ordinal, there are 2"):
        torch.ones(2, device="cuda:2")


def test_gradients_cross_devices(gpu: Gpu) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (x.to("cuda") ** 2).cpu().sum()
    y.backward()
    assert x.grad.device.type == "cpu" and x.grad.tolist() == [2.0, 4.0]


def train(device: str) -> list[float]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.GELU(), torch.nn.Linear(16, 3))
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    x, target = torch.randn(20, 6, device=device), torch.randint(0, 3, (20,), device=device)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_training_is_the_same_on_both_targets(gpu: Gpu) -> None:
    np.testing.assert_allclose(train("cuda"), train("cpu"), rtol=1e-4)
    assert gpu[1].calls["launch"] > 50


def test_rows_of_scores_gradients_begin_where_products_fetch_fast(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tritorch.kernels.templates import matmul

    strides, plan = [], matmul.plan

    def seen(a: Layout, b: Layout, *rest: object, **options: object) -> object:
        strides.extend([a.strides, b.strides])
        return plan(a, b, *rest, **options)

    monkeypatch.setattr(matmul, "plan", seen)

    def gradients(device: str) -> list[torch.Tensor]:
        torch.manual_seed(5)
        x = torch.randn(2, 9, 24).to(device, torch.bfloat16).requires_grad_()
        weight = torch.randn(16_403, 24).to(device, torch.bfloat16).requires_grad_()
        target = torch.randint(0, 16_403, (18,)).to(device)
        scores = torch.nn.functional.linear(x, weight).view(-1, 16_403)
        loss = torch.nn.functional.cross_entropy(scores, target)
        (seen_by_users,) = torch.autograd.grad(loss, scores, retain_graph=True)
        assert seen_by_users.is_contiguous()
        loss.backward()
        return [x.grad, weight.grad]

    expected = gradients("cpu")
    del strides[:]
    for found, other in zip(gradients("cuda"), expected):
        torch.testing.assert_close(found.cpu(), other, rtol=2e-2, atol=1e-4)
    assert (9 * 16_448, 16_448, 1) in strides and (1, 16_448) in strides, strides


@pytest.mark.parametrize("way", ["split", "unbind", "shared"])
def test_gradients_of_queries_keys_and_values_are_written_side_by_side(gpu: Gpu, way: str) -> None:
    def gradient(device: str) -> torch.Tensor:
        torch.manual_seed(4)
        x = torch.randn(2, 33, 3 * 32).to(device).requires_grad_()
        if way == "unbind":
            q, k, v = x.view(2, 33, 3, 2, 16).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (t.view(2, 33, 2, 16).transpose(1, 2) for t in x.split(32, dim=2))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        z = y.square().sum() + (k.sum() if way == "shared" else 0)
        del gpu[1].launches[:]
        z.backward()
        return x.grad

    expected = gradient("cpu")
    found = gradient("cuda")
    assert found.is_contiguous()
    names = [launched.kernel for launched in gpu[1].launches]
    joins = [n for n in names if n.startswith(("copy", "add"))]
    assert bool(joins) == (way == "shared"), names
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)


def test_wrong_indices_are_raised_at_the_next_wait(gpu: Gpu) -> None:
    x = torch.arange(6.0).reshape(2, 3).cuda()
    bad = torch.tensor([0, 5]).cuda()
    chosen = x[bad]  # masked, not raised
    with pytest.raises(
        IndexError, match=r"^index: index 5 is out of bounds for dimension 0 with si"
    ):
        torch.cuda.synchronize()
    torch.cuda.synchronize()  # once
    torch.gather(x, 1, torch.tensor([[9]]).cuda())
    with pytest.raises(IndexError, match=r"gather: index 9 is out of bounds .* 1 with size 3"):
        chosen.cpu()
    scores, wrong = torch.zeros(2, 3, device="cuda"), torch.tensor([0, 4], device="cuda")
    torch.nn.functional.cross_entropy(scores, wrong)
    with pytest.raises(IndexError, match="cross_entropy, 3 classes: Target 4 is out of bounds"):
        scores[0, 0].item()
    x.index_put_((bad,), x)
    event = torch.cuda.current_stream().record_event()
    with pytest.raises(IndexError, match=r"index_put: index 5 is out of bounds .* size 2"):
        event.synchronize()
    torch.nn.functional.embedding(wrong, x)
    with pytest.raises(IndexError, match=r"embedding: index 4 is out of bounds .* size 2"):
        torch.cuda.current_stream().synchronize()
    assert x[0].tolist() == [0.0, 1.0, 2.0]  # and each only once


def test_saving(gpu: Gpu) -> None:
    x = torch.arange(5.0, device="cuda")
    file = io.BytesIO()
    torch.save({"x": x}, file)
    file.seek(0)
    assert torch.load(file)["x"].is_cuda
    file.seek(0)
    loaded = torch.load(file, map_location="cpu")["x"]
    assert loaded.device.type == "cpu" and loaded.tolist() == x.tolist()
    for location, place in (
        ("cuda", "cuda:0"),
        ("cuda:1", "cuda:1"),
        ({"cuda:0": "cuda"}, "cuda:0"),
    ):
        file.seek(0)
        loaded = torch.load(file, map_location=location)["x"]
        assert str(loaded.device) == place
        assert (loaded + torch.ones(5, device=place)).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    file.seek(0)
    with pytest.raises(
        RuntimeError, match=r"^load: a storage .* ordinal, there are 2\. Give map_loc"
    ):
        torch.load(file, map_location="cuda:7")


# ---- other libraries


class Foreign:
    """An array of another library on the same device, with a stream of its own."""

    def __init__(self, tensor: torch.Tensor, stream: int) -> None:
        self.tensor = tensor
        facts = dict(tensor.__cuda_array_interface__)
        self.__cuda_array_interface__ = facts | {"stream": stream}


def test_the_array_interface_orders_streams(gpu: Gpu) -> None:
    _, driver = gpu
    theirs = torch.cuda.Stream()
    x = torch.arange(6.0, device="cuda").reshape(2, 3).T
    facts = x.__cuda_array_interface__
    assert (facts["version"], facts["stream"], facts["strides"]) == (3, 1, (4, 12))
    before = len(driver.waits)
    ours = torch.as_tensor(Foreign(x, theirs.cuda_stream))
    assert ours.data_ptr() == x.data_ptr() and ours.tolist() == x.tolist()
    assert [stream for stream, _ in driver.waits[before:]] == [0]
    with torch.cuda.stream(theirs):
        assert x.__cuda_array_interface__["stream"] == theirs.cuda_stream
    for wrong, error, told in (
        ({"typestr": "<c8"}, TypeError, "elements of type '<c8'"),
        ({"typestr": ">f4"}, TypeError, "elements of type '>f4' .* little-endian"),
        ({"stream": 0}, ValueError, "stream 0 .* may be either default stream"),
        ({"data": (64, False)}, ValueError, "0x40 is not in a device's memory"),
        ({"strides": (-4, 4)}, ValueError, "non-negative multiples of 4"),
        ({"mask": x}, TypeError, "masked"),
    ):
        foreign = Foreign(x, 1)
        foreign.__cuda_array_interface__ |= wrong
        with pytest.raises(error, match=told):
            torch.as_tensor(foreign)
    nothing = Foreign(x, 1)
    nothing.__cuda_array_interface__ |= {"shape": (0, 3), "strides": None, "data": (0, False)}
    assert torch.as_tensor(nothing).shape == (0, 3)
    only_read = Foreign(x, 1)
    only_read.__cuda_array_interface__ |= {"data": (x.data_ptr(), True)}
    assert torch.as_tensor(only_read).data_ptr() != x.data_ptr()


def test_arrays_are_on_the_device_that_their_memory_is_on(gpu: Gpu) -> None:
    """Whichever device is current; the streams that are ordered are that device's."""
    _, driver = gpu
    x = torch.arange(6.0, device="cuda:1")
    theirs, side = torch.cuda.Stream("cuda:1"), torch.cuda.Stream("cuda:1")
    with torch.cuda.stream(side), torch.cuda.device(0):
        before = len(driver.waits)
        found = torch.as_tensor(Foreign(x, theirs.cuda_stream))
        assert [stream for stream, _ in driver.waits[before:]] == [side.cuda_stream]
        assert str(found.device) == "cuda:1" and torch.cuda.current_device() == 0
        assert torch.from_dlpack(x).device == x.device
    assert (found + x).tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def test_dlpack_orders_streams(gpu: Gpu) -> None:
    target, driver = gpu
    x = torch.arange(6.0, device="cuda")
    assert x.__dlpack_device__() == (2, 0)
    consumer = torch.cuda.Stream()
    x.__dlpack__(stream=consumer.cuda_stream)
    assert driver.waits[-1][0] == consumer.cuda_stream
    block = target._blocks[x._storage.address]
    assert block.used_on == {consumer.cuda_stream}
    before = len(driver.waits)
    x.__dlpack__(stream=1)  # the stream that they were made on
    x.__dlpack__(stream=-1)
    assert len(driver.waits) == before
    with pytest.raises(BufferError, match="stream=0 may be either default stream"):
        x.__dlpack__(stream=0)
    again = torch.from_dlpack(x)
    assert again.data_ptr() == x.data_ptr() and again.is_cuda
    assert torch.from_dlpack(x, device="cpu").tolist() == x.tolist()


# ---- tritorch.cuda


def test_devices(gpu: Gpu) -> None:
    assert torch.cuda.is_available() and torch.cuda.device_count() == 2
    assert torch.cuda.current_device() == 0
    assert torch.cuda.get_device_name() == "Fake GPU"
    assert torch.cuda.get_device_capability() == (9, 0)
    assert torch.cuda.get_arch_list() == ["sm_90"]
    assert torch.cuda.is_bf16_supported()
    facts = torch.cuda.get_device_properties("cuda:0")
    assert (facts.multi_processor_count, facts.total_memory) == (132, 1 << 30)
    assert facts.uuid == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    with pytest.raises(ValueError, match="Expected a cuda device, but got: cpu"):
        torch.cuda.get_device_name("cpu")
    with pytest.raises(RuntimeError, match="invalid device ordinal 3"):
        torch.cuda.set_device(3)


def test_the_current_device() -> None:
    with simulated_gpu() as (_, driver):
        x = torch.ones(3, device="cuda")
        with torch.cuda.device(1):
            assert torch.cuda.current_device() == 1
            y = x.to("cuda:1")
            assert (y + 1).tolist() == [2.0] * 3
            assert driver.launches[-1].device == 1
            assert str(torch.ones(1, device="cuda").device) == "cuda:1"
        assert torch.cuda.current_device() == 0
        torch.cuda.synchronize(1)


#: what a program does with tensors, wherever they are
ELSEWHERE = {
    "pointwise": lambda x: (x * 2 + 1).exp(),
    "reduction": lambda x: x.sum(1),
    "several launches": lambda x: x.reshape(-1).expand(3000, -1).sum(),
    "template": lambda x: torch.nn.functional.layer_norm(x @ x.T, (2,)),
    "scan": lambda x: x.cumsum(1),
    "copies": lambda x: torch.cat([x.T.contiguous(), x.clone().T]),
    "indices": lambda x: x[torch.tensor([1, 0])],
    "numbers": lambda x: x + torch.tensor(2.0),
    "from the host": lambda x: x + torch.tensor([1.0, 2.0, 3.0]).to(x.device),
    "random": lambda x: torch.randn(5, device=x.device, generator=torch.Generator().manual_seed(3)),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_work_goes_to_the_device_of_the_tensors(name: str) -> None:
    """Without `with device(1)`: memory, launches and copies are there; the current one stays."""
    with simulated_gpu() as (_, driver):
        x = torch.arange(6.0).reshape(2, 3)
        here = ELSEWHERE[name](x.to("cuda:0"))
        before = len(driver.launches)
        y = ELSEWHERE[name](x.to("cuda:1"))
        assert {launched.device for launched in driver.launches[before:]} == {1}
        assert str(y.device) == "cuda:1" and torch.cuda.current_device() == 0
        (owner,) = [
            device for start, (size, _, device) in driver.allocations.items()
            if start <= y.data_ptr() < start + size
        ]  # fmt: skip
        assert owner == 1
        np.testing.assert_array_equal(y.cpu().numpy(), here.cpu().numpy())
        with pytest.raises(RuntimeError, match=r"same device.* cuda:1 and cuda:0"):
            x.to("cuda:1") + x.to("cuda:0")


def test_training_on_another_device() -> None:
    with simulated_gpu() as (_, driver):
        layer = torch.nn.Linear(3, 2).to("cuda:1")
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
        before, launched = layer.weight.tolist(), len(driver.launches)
        layer(torch.ones(4, 3, device="cuda:1")).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()
        assert layer.weight.tolist() != before
        assert {one.device for one in driver.launches[launched:]} == {1}


def test_copies_between_devices_wait_for_both_sides() -> None:
    with simulated_gpu(lazy=True) as (_, driver):
        x = torch.arange(4.0).to("cuda:0")
        y = (x + 1).to("cuda:1")
        source = x.add_(10)  # after the copy has read what x + 1 is in
        assert y.tolist() == [1.0, 2.0, 3.0, 4.0]
        assert source.tolist() == [10.0, 11.0, 12.0, 13.0]
        side = torch.cuda.Stream("cuda:1")
        with torch.cuda.stream(side):
            first = len(driver.waits)
            z = x.to("cuda:1")
            assert [stream for stream, _ in driver.waits[first:]] == [side.cuda_stream, 0]
        side.synchronize()
        assert z.tolist() == [10.0, 11.0, 12.0, 13.0]


def test_streams_and_memory_of_another_device() -> None:
    with simulated_gpu(lazy=True) as (target, _):
        side, event = torch.cuda.Stream("cuda:1"), torch.cuda.Event()
        x = torch.ones(1000, device="cuda:1")
        assert torch.cuda.current_device() == 0
        event.record(side)
        event.wait(torch.cuda.default_stream("cuda:1"))
        side.wait_stream(torch.cuda.current_stream("cuda:1"))
        x.record_stream(side)
        del x  # its event belongs to the other device
        assert not side.query()
        side.synchronize()
        assert event.query() and torch.cuda.current_device() == 0
        assert target.allocator(1).figures.num_sync_all_streams == 0


def test_a_thread_without_a_context_gets_none_on_its_way() -> None:
    """Working on cuda:1 alone must not take hundreds of megabytes on cuda:0."""
    driver = FakeDriver(devices=2)
    target = CUDATarget(driver)
    there = target.of_device(1)
    there.free(there.allocate(1000), 1000)
    assert driver.calls["retain_context"] == 1
    assert target.current.thread.device == 0 and not target.current.thread.ready
    target.allocate(1000)
    assert driver.calls["retain_context"] == 2
    assert CUDATarget(FakeDriver()).of_device(0).name == "cuda"
    with pytest.raises(RuntimeError, match="invalid device ordinal 5: there are 2 devices"):
        target.of_device(5)


def test_streams_and_events() -> None:
    with simulated_gpu(lazy=True) as (_, driver):
        side = torch.cuda.Stream(priority=-100)
        assert side.priority == -5 and side != torch.cuda.default_stream()
        assert torch.cuda.current_stream() == torch.cuda.default_stream()
        x = torch.ones(4, device="cuda")
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            assert torch.cuda.current_stream() is side
            y = x + 1
            assert driver.launches[-1].stream == side.cuda_stream
            end.record()
        assert torch.cuda.current_stream().cuda_stream == 0
        assert not end.query() and not side.query()
        x.record_stream(side)
        end.synchronize()
        assert end.query() and start.elapsed_time(end) > 0
        assert y.tolist() == [2.0] * 4
        with side:
            assert torch.cuda.current_stream() == side
        torch.cuda.current_stream().wait_event(end)
        with pytest.raises(ValueError, match="enable_timing=True"):
            start.elapsed_time(torch.cuda.Event())


def test_memory_figures(gpu: Gpu) -> None:
    gc.collect()  # what earlier tests left is not to go in the middle of this one
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.reset_accumulated_memory_stats()
    before = torch.cuda.memory_allocated()  # tables of plans, of earlier tests
    x = torch.empty(10_000_000, device="cuda")
    assert torch.cuda.memory_allocated() == before + 40_000_000
    reserved = torch.cuda.memory_reserved()
    assert reserved >= 40 << 20 and reserved % (2 << 20) == 0
    del x
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.max_memory_allocated() == before + 40_000_000
    stats = torch.cuda.memory_stats()
    assert stats["allocation.all.freed"] == 1 and stats["num_ooms"] == 0
    assert "Allocated memory" in torch.cuda.memory_summary()
    free, total = torch.cuda.mem_get_info()
    assert total - free == reserved
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < 40 << 20
    assert torch.cuda.max_memory_reserved() == reserved
    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"Tried to allocate 3\.73 GiB"):
        torch.empty(10**9, device="cuda")
    torch.cuda.set_per_process_memory_fraction(0.001)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="This process may use"):
        torch.empty(10**6, device="cuda")
    assert torch.ones(5, device="cpu").sum().item() == 5


def test_a_fault_names_the_last_operations(gpu: Gpu) -> None:
    _, driver = gpu
    x = torch.ones(4, device="cuda")
    driver.plant("kernel", cu.ILLEGAL_ADDRESS)
    y = x.exp()
    with pytest.raises(torch.cuda.AcceleratorError, match=r"illegal address .*\(exp_f32_1d, "):
        y.cpu()


# ---- without a GPU, or after a fork


def run_alone(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100
    )
    return done.stdout.strip()


def test_without_a_driver_there_is_one_clear_error() -> None:
    try:
        from tritorch.runtime.cuda.bindings import load_driver

        load_driver()
    except RuntimeError:
        pass
    else:
        pytest.skip("this machine has a GPU")
    out = run_alone(
        "import tritorch as torch\n"
        "assert not torch.cuda.is_available() and torch.cuda.device_count() == 0\n"
        "torch.cuda.manual_seed_all(1); torch.cuda.empty_cache()\n"
        "assert torch.cuda.memory_allocated() == 0\n"
        "for make in (lambda: torch.ones(2, device='cuda'), lambda: torch.ones(2).cuda(),\n"
        "             lambda: torch.nn.Linear(2, 2).to('cuda:0'), torch.cuda.current_device,\n"
        "             torch.cuda.memory_summary, torch.cuda.Stream, torch.cuda.synchronize,\n"
        "             lambda: torch.ones(2).pin_memory(), torch.cuda.CUDAGraph):\n"
        "    try: make()\n"
        "    except RuntimeError as error: print(str(error).replace('\\n', '|'))\n"
    )
    lines = out.splitlines()
    assert len(lines) == 9
    for line in lines:
        assert "cuda-bindings is missing" in line or "no NVIDIA driver" in line, line


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_after_the_start_is_a_clear_error(gpu: Gpu) -> None:
    x = torch.ones(3, device="cuda")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        told = []
        for use in (lambda: torch.ones(3, device="cuda"), lambda: x + 1, x.cpu):
            try:
                use()
                told.append("no error")
            except RuntimeError as error:
                told.append(str(error)[:50])
        del x  # frees nothing, says nothing
        os.write(writing, "\n".join([*told, str(torch.ones(2).sum().item())]).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    lines = os.read(reading, 10_000).decode().splitlines()
    os.close(reading)
    assert lines == ["cuda: this process is a fork of one that used the GPU"[:50]] * 3 + ["2.0"]
    assert (x + 1).tolist() == [2.0] * 3
