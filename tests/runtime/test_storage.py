from __future__ import annotations

import ctypes
import gc
import weakref

import pytest

from tritorch.config import config
from tritorch.errors import OutOfMemoryError
from tritorch.runtime import Storage
from tritorch.runtime.cpu.allocator import LARGE, CachingAllocator


@pytest.fixture
def memory():
    return CachingAllocator()


@pytest.mark.parametrize("nbytes", [0, 1, 4000, LARGE, 3 * LARGE])
def test_a_storage_owns_its_memory_until_it_dies(memory, nbytes):
    storage = Storage(nbytes, memory)
    assert (storage.nbytes, storage.version, storage.owner) == (nbytes, 0, None)
    assert storage.address % 64 == 0
    ctypes.memset(storage.address, 0x55, nbytes)
    assert memory.statistics().allocated >= max(nbytes, 1)
    address = storage.address
    del storage
    assert memory.statistics().allocated == 0
    again = Storage(nbytes, memory)
    assert again.address == address


def test_cycles_are_collected(memory):
    storage = Storage(100, memory)
    cycle = [storage]
    cycle.append(cycle)
    dead = weakref.ref(storage)
    del storage, cycle
    gc.collect()
    assert dead() is None
    assert memory.statistics().allocated == 0


def test_collection_in_the_middle_of_the_allocator(memory):
    """The garbage collector frees large storages while the same thread is inside the allocator."""
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        with config(cpu_cached_bytes=2 * LARGE):
            for number in range(300):
                cycle = [Storage(LARGE, memory), Storage(2 * LARGE, memory)]
                cycle.append(cycle)
                Storage(LARGE + number % 3 * LARGE, memory)
    finally:
        gc.set_threshold(*threshold)
    del cycle
    gc.collect()
    now = memory.statistics()
    assert now.allocated == 0
    memory.empty_cache()
    assert memory.statistics().reserved == 0


def test_a_failed_allocation_leaves_nothing_behind(memory):
    with pytest.raises(OutOfMemoryError):
        Storage(1 << 60, memory)
    gc.collect()
    assert memory.statistics().allocated == 0


def test_borrowed_memory_stays_with_its_owner(memory):
    class Owner:
        pass

    owner = Owner()
    alive = weakref.ref(owner)
    storage = Storage.borrow(4096, 100, owner)
    assert (storage.address, storage.nbytes, storage.version) == (4096, 100, 0)
    assert storage.owner is owner
    del owner
    assert alive() is not None
    assert "100 bytes at 0x1000 of a Owner" in repr(storage)
    del storage
    assert alive() is None
    assert memory.statistics().reserved == 0


def test_a_storage_has_no_other_attributes(memory):
    with pytest.raises(AttributeError):
        Storage(8, memory).verison = 1


def test_storages_may_die_at_exit(run_script):
    result = run_script(
        """
from tritorch.runtime import Storage, get_target
keep = [Storage(n, get_target("cpu")) for n in (10, 1000, 1 << 20, 1 << 22)]
cycle = [Storage(1 << 21, get_target("cpu"))]
cycle.append(cycle)
sys.storages = list(keep)
"""
    )
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
