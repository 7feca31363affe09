"""The parent's side of the transport: batches whose arrays borrow the blocks of a worker."""

from __future__ import annotations

import io
import os
import pickle
from collections import deque
from typing import Any

import numpy as np

from tritorch import devices, dtypes
from tritorch.host import array_of_memory
from tritorch.layout import Layout
from tritorch.runtime.storage import Storage
from tritorch.tensor import Tensor, from_array, wrap
from tritorch.utils.data.transport import Block


class Lease:
    """An array of the parent lies in a block; when it is collected, the worker may have it back."""

    __slots__ = ("block", "released")

    def __init__(self, block: Block, released: deque[int]) -> None:
        self.block = block
        self.released = released

    def __del__(self) -> None:
        self.released.append(self.block.number)


class ReceivedBlocks:
    """The blocks of one worker, as the parent sees them."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self.released: deque[int] = deque()

    def add(self, number: int, handle: int, nbytes: int) -> None:
        """Map a new block; the descriptor is closed."""
        try:
            self._blocks[number] = Block(number, handle, nbytes)
        finally:
            os.close(handle)

    def discard(self, number: int) -> None:
        """The worker does not use a block any more."""
        del self._blocks[number]

    def take_released(self) -> list[int]:
        """The numbers of blocks released since the last call."""
        numbers = []
        while self.released:
            numbers.append(self.released.popleft())
        return numbers

    def read(self, content: bytes) -> Any:
        """The batch that a worker described."""
        return _BatchUnpickler(io.BytesIO(content), self).load()

    def storage(self, number: int) -> Storage:
        """The memory of a block, on lease."""
        block = self._blocks[number]
        return Storage.borrow(block.address, block.nbytes, Lease(block, self.released))

    def tensor(
        self, number: int, offset: int, kind: str, shape: Any, strides: Any, requires_grad: bool
    ) -> Tensor:
        """A tensor in a block; offset in bytes, strides in elements."""
        storage = self.storage(number)
        layout = Layout.of(dtypes.BY_NAME[kind], shape, strides)
        tensor = wrap(storage, layout, storage.address + offset)
        return tensor.requires_grad_() if requires_grad else tensor

    def array(self, number: int, kind: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """A NumPy array in a block."""
        storage = self.storage(number)
        count = storage.nbytes
        raw = array_of_memory(storage, storage.address, (count,), (1,), dtypes.uint8)
        wanted = np.dtype(kind)
        nbytes = wanted.itemsize * int(np.prod(shape))
        return raw[:nbytes].view(wanted).reshape(shape)


class _BatchUnpickler(pickle.Unpickler):
    """Reads what our own worker wrote."""

    def __init__(self, file: io.BytesIO, blocks: ReceivedBlocks) -> None:
        super().__init__(file)
        self._blocks = blocks

    def find_class(self, module: str, name: str) -> Any:
        if module == __name__:
            if name == received_tensor.__name__:
                return self._blocks.tensor
            if name == received_array.__name__:
                return self._blocks.array
        return super().find_class(module, name)


def received_tensor(*description: Any) -> Tensor:
    """Stands in a description for `ReceivedBlocks.tensor` of whoever reads it."""
    raise RuntimeError("DataLoader: a batch was read outside of its loader.")


def received_array(*description: Any) -> np.ndarray[Any, Any]:
    """Stands in a description for `ReceivedBlocks.array` of whoever reads it."""
    raise RuntimeError("DataLoader: a batch was read outside of its loader.")


def small_tensor(raw: bytes, kind: str, shape: tuple[int, ...], requires_grad: bool) -> Tensor:
    """A tensor whose elements came in the message."""
    array = np.frombuffer(raw, np.uint8).view(dtypes.BY_NAME[kind].numpy).reshape(shape)
    tensor = from_array(array, devices.cpu)
    return tensor.requires_grad_() if requires_grad else tensor
