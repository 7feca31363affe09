from __future__ import annotations

import ctypes
import gc
import threading

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tritorch.config import config
from tritorch.errors import OutOfMemoryError
from tritorch.runtime.cpu import allocator as allocator_module
from tritorch.runtime.cpu.allocator import ALIGNMENT, LARGE, CachingAllocator, size_class
from tritorch.runtime.cpu.system_memory import HUGE_PAGE, PAGE, map_pages, unmap_pages

SIZES = st.one_of(
    st.integers(0, 2048),
    st.integers(0, 2 * LARGE),
    st.sampled_from([LARGE - 1, LARGE, LARGE + 1, 3 * LARGE, 4 * LARGE + 4096]),
)


@given(st.integers(0, 1 << 45))
def test_a_class_holds_the_request_and_wastes_little(nbytes):
    size = size_class(nbytes)
    assert size >= max(nbytes, 1)
    assert size % ALIGNMENT == 0
    assert size_class(size) == size
    if nbytes > 1024:
        assert size - nbytes < nbytes / (8 if size > LARGE else 4)
    if size >= LARGE:
        assert size % PAGE == 0


@given(st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_classes_are_ordered(first, second):
    assume(first <= second)
    assert size_class(first) <= size_class(second)


def test_classes_are_few():
    assert len({size_class(nbytes) for nbytes in range(0, LARGE, 61)}) == 16 + 4 * 10


class Blocks(RuleBasedStateMachine):
    """Live blocks are aligned, apart from each other, keep what was written; the figures add up."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = CachingAllocator()
        self.live: list[tuple[int, int, int]] = []  # address, bytes, mark
        self.marks = 0

    @rule(nbytes=SIZES)
    def allocate(self, nbytes: int) -> None:
        address = self.allocator.allocate(nbytes)
        assert address % ALIGNMENT == 0
        for other, size, _ in self.live:
            assert address + nbytes <= other or other + size <= address
            assert address != other
        self.marks = self.marks % 255 + 1
        ctypes.memset(address, self.marks, nbytes)
        self.live.append((address, nbytes, self.marks))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        address, nbytes, mark = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        assert ctypes.string_at(address, nbytes) == bytes([mark]) * nbytes
        self.allocator.free(address, nbytes)

    @rule()
    def empty_cache(self) -> None:
        self.allocator.empty_cache()
        if not self.live:
            now = self.allocator.statistics()
            assert (now.allocated, now.cached, now.reserved) == (0, 0, 0)

    @rule(limit=st.sampled_from([0, 2 * LARGE, 1 << 40]))
    def free_under_a_cap(self, limit: int) -> None:
        with config(cpu_cached_bytes=limit):
            blocks = [(self.allocator.allocate(n), n) for n in (LARGE, 2 * LARGE, LARGE)]
            for address, nbytes in blocks:
                self.allocator.free(address, nbytes)
            large = sum(free.size * len(free.blocks) for free in self.allocator._large.values())
            assert large <= limit

    @invariant()
    def figures_add_up(self) -> None:
        now = self.allocator.statistics()
        assert now.allocated == sum(size_class(nbytes) for _, nbytes, _ in self.live)
        assert now.allocated + now.cached == now.reserved <= now.peak_reserved

    def teardown(self) -> None:
        for address, nbytes, mark in self.live:
            assert ctypes.string_at(address, nbytes) == bytes([mark]) * nbytes
            self.allocator.free(address, nbytes)
        self.live.clear()
        self.empty_cache()


Blocks.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestBlocks = Blocks.TestCase


@pytest.fixture
def allocator():
    made = CachingAllocator()
    yield made
    gc.collect()
    made.empty_cache()


@pytest.mark.parametrize("nbytes", [0, 1, 64, 4096, 100_000, LARGE, 16 * LARGE])
def test_a_freed_block_is_used_again(allocator, nbytes):
    address = allocator.allocate(nbytes)
    mappings = allocator.statistics().mappings
    for _ in range(5):
        allocator.free(address, nbytes)
        assert allocator.allocate(nbytes) == address
    assert allocator.statistics().mappings == mappings
    allocator.free(address, nbytes)


def test_requests_of_one_class_share_blocks(allocator):
    address = allocator.allocate(5 * LARGE - 1)
    allocator.free(address, 5 * LARGE - 1)
    assert allocator.allocate(5 * LARGE - 100) == address
    allocator.free(address, 5 * LARGE - 100)


def test_the_least_recently_freed_large_blocks_go_first(allocator):
    with config(cpu_cached_bytes=3 * LARGE):
        first, second, third, fourth = blocks = [allocator.allocate(LARGE) for _ in range(4)]
        for address in blocks:
            allocator.free(address, LARGE)
        assert allocator.statistics().cached == 3 * LARGE
        assert {allocator.allocate(LARGE) for _ in range(3)} == {second, third, fourth}
        assert first not in allocator.cached_by_age
        for address in (second, third, fourth):
            allocator.free(address, LARGE)


def test_more_sizes_than_are_remembered(allocator, monkeypatch):
    monkeypatch.setattr(allocator_module, "_MAX_KNOWN_SIZES", 4)
    blocks = [(allocator.allocate(nbytes), nbytes) for nbytes in range(100, 3000, 100)]
    assert len(allocator.free_lists) == 4
    for address, nbytes in blocks:
        allocator.free(address, nbytes)
    assert allocator.statistics().allocated == 0
    again = {allocator.allocate(nbytes) for _, nbytes in blocks}
    assert again == {address for address, _ in blocks}
    for address, nbytes in blocks:
        allocator.free(address, nbytes)


def test_out_of_memory_is_one_error_with_the_figures(allocator):
    held = allocator.allocate(3 * LARGE)
    allocator.free(allocator.allocate(2 * LARGE), 2 * LARGE)
    for nbytes in (1 << 50, 1 << 62, 1 << 70):
        with pytest.raises(OutOfMemoryError, match=r"3.00 MiB are in use, 0 bytes cached\. Free"):
            allocator.allocate(nbytes)
    with pytest.raises(MemoryError, match=r"no memory for a block of 1048576\.00 GiB"):
        allocator.allocate(1 << 50)
    assert allocator.statistics().reserved == 3 * LARGE
    allocator.free(held, 3 * LARGE)


def test_the_cache_is_released_before_memory_runs_out(allocator, monkeypatch):
    allocator.free(allocator.allocate(8 * LARGE), 8 * LARGE)
    answers = [None]  # the system refuses once

    def refuse_once(nbytes: int) -> int | None:
        return answers.pop() if answers else map_pages(nbytes)

    monkeypatch.setattr(allocator_module, "map_pages", refuse_once)
    address = allocator.allocate(2 * LARGE)
    assert allocator.statistics().reserved == 2 * LARGE
    allocator.free(address, 2 * LARGE)


def test_a_negative_size_is_rejected(allocator):
    with pytest.raises(ValueError, match="allocate: -1 bytes is negative"):
        allocator.allocate(-1)


def test_the_peak_can_be_reset(allocator):
    allocator.free(allocator.allocate(4 * LARGE), 4 * LARGE)
    allocator.empty_cache()
    assert allocator.statistics().peak_reserved == 4 * LARGE
    allocator.reset_peak()
    assert allocator.statistics().peak_reserved == 0


def test_threads_share_the_allocator(allocator):
    failures: list[str] = []

    def work(mark: int) -> None:
        blocks: list[tuple[int, int]] = []
        for step in range(400):
            nbytes = (64, 5000, 70_000, LARGE)[step % 4] + mark
            address = allocator.allocate(nbytes)
            ctypes.memset(address, mark, 64)
            ctypes.memset(address + nbytes - 64, mark, 64)
            blocks.append((address, nbytes))
            if step % 3 == 2:
                for address, nbytes in (blocks.pop(0), blocks.pop()):
                    ends = ctypes.string_at(address, 64) + ctypes.string_at(
                        address + nbytes - 64, 64
                    )
                    if ends != bytes([mark]) * 128:
                        failures.append(f"thread {mark}, step {step}")
                    allocator.free(address, nbytes)
            if step % 100 == 99:
                allocator.empty_cache()
        for address, nbytes in blocks:
            allocator.free(address, nbytes)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert allocator.statistics().allocated == 0


@pytest.mark.parametrize("nbytes", [PAGE, LARGE, HUGE_PAGE, HUGE_PAGE + PAGE, 5 * HUGE_PAGE])
def test_pages_are_zero_and_huge_ones_aligned(nbytes):
    address = map_pages(nbytes)
    assert address is not None
    assert address % (HUGE_PAGE if nbytes >= HUGE_PAGE else PAGE) == 0
    assert ctypes.string_at(address, nbytes) == bytes(nbytes)
    unmap_pages(address, nbytes)


def test_a_forked_child_goes_on_allocating(run_script):
    result = run_script(
        """
from tritorch.runtime import Storage, get_target
target = get_target("cpu")
blocks = [Storage(n, target) for n in (100, 10_000, 3 << 20)]
locked, done = threading.Event(), threading.Event()
def hold():
    with target.allocator.lock:
        locked.set()
        done.wait()
holder = threading.Thread(target=hold, daemon=True)
holder.start()
locked.wait()
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of the holding thread
child = os.fork()
if child == 0:
    more = [Storage(n, target) for n in (100, 10_000, 3 << 20, 5 << 20)]
    for block in (*blocks, *more): ctypes.memset(block.address, 1, block.nbytes)
    del blocks, more, block
    target.empty_cache()
    os._exit(7 if target.memory_statistics().allocated == 0 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
done.set()
holder.join()
print("done")
"""
    )
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)
