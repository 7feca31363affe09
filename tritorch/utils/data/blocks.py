"""A worker's side of the transport: batches are described, and lie in blocks."""

from __future__ import annotations

import ctypes
import io
import os
import pickle
from collections import deque
from typing import Any

import numpy as np

from tritorch.runtime import get_target
from tritorch.runtime.cpu.system_memory import PAGE, round_up
from tritorch.tensor import Tensor
from tritorch.utils.data.received import received_array, received_tensor, small_tensor
from tritorch.utils.data.transport import DISCARD, Block, Channel, anonymous_file

#: Smaller arrays are copied into the message (bytes).
SMALL = 16 << 10
#: A worker keeps so many blocks that fit no request; the oldest go first.
_MAX_FREE_BLOCKS = 32
#: So many sizes of arrays does a worker allocate in blocks from the beginning.
_MAX_SHARED_SIZES = 64


class BlockPool:
    """The blocks of a worker.

    A block is free when no array of the worker lies in it and the parent has released every array
    that was sent in it.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._count = 0
        self._free: list[Block] = []
        self._used: dict[int, Block] = {}  # by address: an array of this process lies in it
        self._lent: dict[int, int] = {}  # by number: how often it was sent
        self._blocks: dict[int, Block] = {}
        self._ended: deque[int] = deque()  # addresses of arrays that are no more
        self._sizes: set[int] = set()

    def take(self, nbytes: int) -> Block:
        """A free block of at least so many bytes, for an array of this process."""
        self._collect()
        fitting = [b for b in self._free if nbytes <= b.nbytes <= 2 * nbytes + PAGE]
        if fitting:
            block = min(fitting, key=lambda b: b.nbytes)
            self._free.remove(block)
        else:
            while len(self._free) >= _MAX_FREE_BLOCKS:
                self._discard(self._free.pop(0))
            block = self._create(round_up(nbytes, PAGE))
        self._used[block.address] = block
        return block

    def _create(self, nbytes: int) -> Block:
        handle = anonymous_file(nbytes)
        try:
            block = Block(self._count, handle, nbytes)
            self._channel.send_block(block.number, handle, nbytes)
        finally:
            os.close(handle)
        self._count += 1
        self._blocks[block.number] = block
        return block

    def _discard(self, block: Block) -> None:
        del self._blocks[block.number]
        self._channel.send(DISCARD, block.number)

    def leave(self, address: int) -> None:
        """The array at this address is no more; called whenever one is collected."""
        self._ended.append(address)

    def _collect(self) -> None:
        while self._ended:
            block = self._used.pop(self._ended.popleft())
            self._free_if_idle(block)

    def _free_if_idle(self, block: Block) -> None:
        if block.address not in self._used and not self._lent.get(block.number):
            self._free.append(block)

    def release(self, numbers: list[int]) -> None:
        """The parent is done with an array in each of these blocks."""
        self._collect()
        for number in numbers:
            self._lent[number] -= 1
            self._free_if_idle(self._blocks[number])

    def lend(self, address: int) -> int | None:
        """The number of the block at this address, which is being sent; None for other memory."""
        block = self._used.get(address)
        if block is None:
            return None
        self._lent[block.number] = self._lent.get(block.number, 0) + 1
        return block.number

    def share_later(self, nbytes: int) -> None:
        """Allocate tensors of exactly this size in blocks from now on."""
        if nbytes not in self._sizes and len(self._sizes) < _MAX_SHARED_SIZES:
            self._sizes.add(nbytes)
            get_target("cpu").free_lists[nbytes] = _SharedFreeList(self, nbytes)


class _SharedFreeList:
    """Where a worker's allocator takes memory of one size from: the blocks."""

    def __init__(self, pool: BlockPool, nbytes: int) -> None:
        self._pool = pool
        self._nbytes = nbytes

    def pop(self) -> int:
        return self._pool.take(self._nbytes).address

    def append(self, address: int) -> None:
        self._pool.leave(address)


class BatchPickler(pickle.Pickler):
    """Describes a batch; large arrays are in blocks."""

    def __init__(self, file: io.BytesIO, pool: BlockPool) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._pool = pool

    def reducer_override(self, obj: Any) -> Any:
        """Tensors and arrays of numbers; everything else as pickle does."""
        if type(obj) is Tensor and not obj.__dict__ and obj._grad_fn is None and obj.is_cpu:
            return self._tensor(obj)
        if type(obj) is np.ndarray and obj.dtype.kind in "biufc" and obj.nbytes >= SMALL:
            array = np.ascontiguousarray(obj)
            number = self._copied(array.ctypes.data, array.nbytes)
            return received_array, (number, array.dtype.str, obj.shape)
        return NotImplemented

    def _tensor(self, tensor: Tensor) -> tuple[Any, ...]:
        layout, address = tensor._layout, tensor._address
        kind, requires_grad = layout.dtype.name, bool(tensor._requires_grad)
        if layout.nbytes < SMALL:
            raw = tensor.detach()._array().tobytes()
            return small_tensor, (raw, kind, layout.shape, requires_grad)
        number = self._pool.lend(tensor._storage.address)
        if number is not None:
            offset = address - tensor._storage.address
        else:
            if not layout.is_dense:
                tensor = tensor.detach().contiguous()
                layout, address = tensor._layout, tensor._address
            number, offset = self._copied(address, layout.nbytes), 0
            self._pool.share_later(layout.nbytes)
        return received_tensor, (
            number, offset, kind, layout.shape, layout.strides, requires_grad
        )  # fmt: skip

    def _copied(self, address: int, nbytes: int) -> int:
        block = self._pool.take(nbytes)
        ctypes.memmove(block.address, address, nbytes)
        number = self._pool.lend(block.address)
        assert number is not None
        self._pool.leave(block.address)
        return number
