"""The caching allocator: blocks, streams, figures, and what happens where there is no memory."""

from __future__ import annotations

import gc
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.runtime.cuda.fake_driver import FakeDriver
from tritorch.errors import OutOfMemoryError
from tritorch.runtime import Storage
from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda.allocator import PoolPair, rounded, segment_bytes
from tritorch.runtime.cuda.target import CUDATarget

MIB = 1 << 20


def figure(target: CUDATarget, name: str) -> int:
    return target.allocator().figures.as_dict()[name]


def stream_of(target: CUDATarget) -> int:
    with target.calling() as driver:
        return driver.create_stream(cu.STREAM_NON_BLOCKING, 0)


@pytest.mark.parametrize(
    ("nbytes", "block", "segment"),
    [
        (1, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (21 * MIB + 1, 21 * MIB + 512, 22 * MIB),
    ],
)
def test_sizes(nbytes: int, block: int, segment: int) -> None:
    assert rounded(nbytes) == block
    assert segment_bytes(block) == segment


def test_small_blocks_share_a_segment(target: CUDATarget, driver: FakeDriver) -> None:
    addresses = [target.allocate(700) for _ in range(10)]
    assert driver.calls["allocate"] == 1
    assert all(address % 512 == 0 for address in addresses)
    assert len(set(addresses)) == 10
    assert figure(target, "allocated_bytes.all.current") == 10 * 1024
    assert figure(target, "requested_bytes.all.current") == 7000
    assert figure(target, "reserved_bytes.small_pool.current") == 2 * MIB
    assert figure(target, "inactive_split_bytes.all.current") == 2 * MIB - 10 * 1024
    for address in addresses:
        target.free(address, 700)
    whole = target.allocate(MIB)  # what was freed has grown together
    assert driver.calls["allocate"] == 1
    target.free(whole, MIB)
    target.empty_cache()
    assert not driver.allocations
    assert figure(target, "reserved_bytes.all.current") == 0
    assert figure(target, "reserved_bytes.all.freed") == 2 * MIB


def test_a_large_block_is_split_and_reused(target: CUDATarget, driver: FakeDriver) -> None:
    first = target.allocate(5 * MIB)
    second = target.allocate(6 * MIB)
    assert driver.calls["allocate"] == 1
    assert second == first + 5 * MIB
    target.free(first, 5 * MIB)
    assert target.allocate(3 * MIB) == first  # best fit
    assert figure(target, "active_bytes.large_pool.current") == 9 * MIB


def test_storage_takes_and_returns_blocks(target: CUDATarget) -> None:
    storage = Storage(3000, target)
    address = storage.address
    assert figure(target, "allocation.all.current") == 1
    del storage
    gc.collect()
    assert figure(target, "allocation.all.current") == 0
    assert Storage(2600, target).address == address
    assert Storage(0, target).address == 0


def test_streams_have_their_own_blocks(target: CUDATarget) -> None:
    here = target.allocate(1000)
    target.free(here, 1000)
    target.current.set_stream(stream_of(target))
    assert target.allocate(1000) != here
    target.current.set_stream(0)
    assert target.allocate(1000) == here


def test_a_block_used_elsewhere_waits_for_an_event() -> None:
    driver = FakeDriver(lazy=True)
    target = CUDATarget(driver)
    side = stream_of(target)
    address = target.allocate(1000)
    target.record_stream(address, side)
    driver.fill(address, 1, 1000, side)
    target.free(address, 1000)
    assert figure(target, "allocated_bytes.all.current") == 0
    assert figure(target, "active_bytes.all.current") == 1024
    other = target.allocate(1000)
    assert other != address
    driver.progress(side)
    target.allocate(2 * MIB)  # looks at the events
    assert target.allocate(1000) == address
    target.record_stream(other, 0)  # its own stream: nothing to wait for
    target.free(other, 1000)
    assert target.allocate(1000) == other


def test_a_stream_that_is_no_more(target: CUDATarget, driver: FakeDriver) -> None:
    """Another library destroyed it: the host waits for the device instead."""
    foreign = stream_of(target)
    address = target.allocate(1000)
    target.record_stream(address, foreign)
    driver.destroy_stream(foreign)
    target.free(address, 1000)
    assert driver.calls["synchronize"] == 1
    assert target.allocate(1000) == address


def test_streams_are_given_out_in_turn(target: CUDATarget) -> None:
    target.allocate(1)
    found = [target.current.take_stream(0) for _ in range(65)]
    assert len(set(found[:32])) == 32 and found[32:64] == found[:32]


def test_small_blocks_come_and_go_without_the_allocator(
    target: CUDATarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_of(target)
    allocator = target.allocator()
    warm = Storage(700, target).address
    with monkeypatch.context() as patch:
        for name in ("allocate", "free"):
            patch.setattr(allocator, name, lambda *_: pytest.fail("the long way"))
        storage = Storage(600, target)  # the same block
        assert storage.address == warm
        assert figure(target, "requested_bytes.all.current") == 600
        assert figure(target, "allocated_bytes.small_pool.current") == 1024
        assert figure(target, "active.all.peak") == 1
        del storage
        assert figure(target, "active_bytes.all.current") == 0
        assert figure(target, "allocation.all.allocated") == 2
    storage = Storage(700, target)
    assert storage.address == warm
    target.record_stream(warm, stream)
    del storage  # an event must pass on the other stream
    assert allocator.lists is not None and not allocator.lists.kept()
    assert figure(target, "requested_bytes.all.current") == 0
    assert figure(target, "num_device_alloc") == 1
    target.current.set_stream(stream)
    other = Storage(700, target)
    assert other.address != warm
    target.current.set_stream(0)
    del other  # a block of the other stream
    assert not allocator.lists.kept()


def test_out_of_memory_has_figures_and_breaks_nothing() -> None:
    driver = FakeDriver(nbytes=64 * MIB)
    target = CUDATarget(driver)
    kept = target.allocate(30 * MIB)
    cached = target.allocate(20 * MIB)
    target.free(cached, 20 * MIB)
    assert target.allocate(32 * MIB)  # after the cache was released
    assert figure(target, "num_alloc_retries") == 1
    assert figure(target, "num_ooms") == 0
    with pytest.raises(OutOfMemoryError) as caught:
        target.allocate(40 * MIB)
    assert str(caught.value).startswith(
        "CUDA out of memory. Tried to allocate 40.00 MiB. GPU 0 has a total capacity of 64.00 MiB "
        "of which 2.00 MiB is free. Of the memory that this process holds, 62.00 MiB is allocated "
        "by tensors, and 0 bytes is reserved but unallocated."
    )
    assert figure(target, "num_ooms") == 1
    target.free(kept, 30 * MIB)
    assert target.allocate(25 * MIB) == kept
    check_whole(target, driver)


def test_a_limit_for_the_process(target: CUDATarget) -> None:
    target.allocate(5 * MIB)
    target.allocator().limit = 30 * MIB
    with pytest.raises(OutOfMemoryError, match=r"This process may use 30\.00 MiB"):
        target.allocate(16 * MIB)
    target.allocator().limit = None
    target.allocate(16 * MIB)


def test_other_failures_of_the_driver_pass_through(target: CUDATarget, driver: FakeDriver) -> None:
    driver.plant("allocate", cu.LAUNCH_FAILED)
    with pytest.raises(RuntimeError, match=r"launch failed \(719\)"):
        target.allocate(5)


def test_memory_of_a_graph_is_its_own(target: CUDATarget, driver: FakeDriver) -> None:
    stream = stream_of(target)
    target.current.set_stream(stream)
    outside = target.allocate(1000)
    target.free(outside, 1000)
    pair = PoolPair()
    allocator = target.allocator()
    allocator.begin_capture(stream, pair)
    driver.begin_capture(stream, cu.CAPTURE_GLOBAL)
    inside = target.allocate(1000)
    target.free(inside, 1000)
    assert target.allocate(1000) == inside  # reused within the graph
    target.record_stream(inside, 0)
    target.free(inside, 1000)  # its event waits for the end of the capture
    driver.end_capture(stream)
    allocator.end_capture(stream)
    assert inside != outside
    assert target.allocate(1000) == outside
    target.empty_cache()
    assert driver.on_device(inside)
    pair.users = 0
    target.empty_cache()
    assert not driver.on_device(inside)


def test_devices_have_their_own_memory() -> None:
    driver = FakeDriver(devices=2)
    target = CUDATarget(driver)
    first = target.allocate(1000)
    target.current.set_device(1)
    second = target.allocate(1000)
    assert driver.calls["enable_peer"] == 2
    assert [driver.allocations[a][2] for a in (first, second)] == [0, 1]
    target.free(first, 1000)  # from the other device
    target.free(second, 1000)
    assert target.allocate(1000) == second
    with pytest.raises(RuntimeError, match="invalid device ordinal 2: there are 2 devices"):
        target.current.set_device(2)


def test_a_finalizer_in_the_middle_of_a_request(target: CUDATarget, driver: FakeDriver) -> None:
    """What Python collects while the allocator works is freed later; a request is served."""
    target.allocate(1000)
    kept, spare = [target.allocate(1000)], target.allocate(300)
    nested: list[int] = []
    ask = driver.allocate

    def interrupted(nbytes: int) -> int:
        if kept:
            target.free(kept.pop(), 1000)
            nested.append(target.allocate(300))
        return ask(nbytes)

    driver.allocate = interrupted  # type: ignore[method-assign]
    target.allocate(30 * MIB)
    assert len(nested) == 1
    assert figure(target, "allocation.all.current") == 5  # not freed yet
    target.free(nested[0], 300)
    target.free(spare, 300)
    held = Storage(1, target)  # the long way, although there is a block
    assert held.nbytes == 1
    assert figure(target, "allocation.all.current") == 3
    check_whole(target, driver)


def test_threads_share_the_allocator(target: CUDATarget, driver: FakeDriver) -> None:
    seen: set[int] = set()
    wrong: list[int] = []

    def work() -> None:
        for turn in range(300):
            address = target.allocate(100 + turn)
            if address in seen:
                wrong.append(address)
            seen.add(address)
            seen.discard(address)
            target.free(address, 100 + turn)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    target.allocate(1)
    assert figure(target, "allocation.all.current") == 1
    assert figure(target, "allocation.all.allocated") == 1201
    check_whole(target, driver)


def check_whole(target: CUDATarget, driver: FakeDriver) -> None:
    """Blocks cover every segment without gaps or overlaps; figures agree with them."""
    allocator = target.allocator()
    segments = allocator.snapshot()
    assert {s["address"]: s["total_size"] for s in segments} == {
        address: size for address, (size, _, _) in driver.allocations.items()
    }
    held = active = 0
    for segment in segments:
        at = segment["address"]
        for block in segment["blocks"]:
            assert block["address"] == at
            at += block["size"]
            active += block["size"] * (block["state"] != "inactive")
            held += block["size"] * (block["state"] == "active_allocated")
        assert at == segment["address"] + segment["total_size"]
    figures = allocator.figures.as_dict()
    assert figures["allocated_bytes.all.current"] == held
    assert figures["active_bytes.all.current"] == active
    assert figures["reserved_bytes.all.current"] == sum(s["total_size"] for s in segments)
    assert figures.pop("max_split_size") == -1
    for name, value in figures.items():
        assert value >= 0, name
        if name.endswith(".peak"):
            assert value >= figures[name.removesuffix("peak") + "current"]
        if name.startswith("oversize"):
            assert value == 0
        elif ".all." in name:
            pools = [figures[name.replace(".all.", f".{pool}.")] for pool in POOLS]
            assert value <= sum(pools) if name.endswith("peak") else value == sum(pools), name


POOLS = ("small_pool", "large_pool")


class Model(RuleBasedStateMachine):
    """Blocks never overlap what is held, or what another stream still uses."""

    blocks = Bundle("blocks")

    def __init__(self) -> None:
        super().__init__()
        self.driver = FakeDriver(nbytes=96 * MIB, lazy=True)
        self.target = CUDATarget(self.driver)
        self.streams = [0, stream_of(self.target), stream_of(self.target)]
        self.held: dict[int, int] = {}
        self.storages: dict[int, Storage] = {}
        self.in_use: dict[int, list[tuple[int, int]]] = {}  # stream -> (address, bytes) freed

    @rule(
        target=blocks,
        nbytes=st.one_of(
            st.integers(1, 5000), st.integers(1, 3 * MIB), st.integers(5 * MIB, 30 * MIB)
        ),
        stream=st.integers(0, 2),
        short=st.booleans(),
    )
    def allocate(self, nbytes: int, stream: int, short: bool) -> tuple[int, int, int]:
        self.target.current.set_stream(self.streams[stream])
        before = dict(self.held)
        try:
            if short:
                storage = Storage(nbytes, self.target)
                address = storage.address
                self.storages[address] = storage
            else:
                address = self.target.allocate(nbytes)
        except OutOfMemoryError:
            assert self.held == before
            return (0, 0, 0)
        assert self.driver.on_device(address, nbytes)
        self.forget_what_is_done()  # it may have waited
        for other, size in self.held.items():
            assert address + nbytes <= other or other + size <= address
        for user, uses in self.in_use.items():
            for other, size in uses:
                apart = address + nbytes <= other or other + size <= address
                assert apart, f"in use on stream {user}"
        self.held[address] = nbytes
        return (address, nbytes, stream)

    @rule(block=consumes(blocks), users=st.sets(st.integers(0, 2), max_size=2))
    def free(self, block: tuple[int, int, int], users: set[int]) -> None:
        address, nbytes, stream = block
        if not address:
            return
        for user in users - {stream}:
            self.target.record_stream(address, self.streams[user])
            self.driver.fill(address, 0, 1, self.streams[user])
            self.in_use.setdefault(user, []).append((address, nbytes))
        del self.held[address]
        if address in self.storages:
            del self.storages[address]
        else:
            self.target.free(address, nbytes)

    @rule(stream=st.integers(0, 2))
    def progress(self, stream: int) -> None:
        self.driver.progress(self.streams[stream])
        self.in_use.pop(stream, None)

    @rule()
    def empty_cache(self) -> None:
        self.target.empty_cache()
        self.in_use.clear()  # it waits

    @rule()
    def reset(self) -> None:
        self.target.allocator().figures.reset_peak()

    @invariant()
    def whole(self) -> None:
        check_whole(self.target, self.driver)

    def forget_what_is_done(self) -> None:
        for user in [u for u in self.in_use if not self.driver._queues[self.streams[u]]]:
            del self.in_use[user]


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
