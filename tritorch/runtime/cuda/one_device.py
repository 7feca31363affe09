"""`OneDevice`: the target of tensors that live on one of several GPUs.

A thread has a current device, and every tensor has its own. Whatever works on tensors asks for the
target of *their* device; where that is not the thread's current one, the call goes there and comes
back. With one GPU there is nothing to choose, and `CUDATarget` itself is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tritorch.kernel_source import KernelSource
from tritorch.runtime.storage import FreeList
from tritorch.runtime.target import Graph, Kernel, Launch, Target

if TYPE_CHECKING:
    from tritorch.runtime.cuda.target import CUDATarget


class OneDevice:
    """A `CUDATarget` whose work goes to device number `index` (see `Target`)."""

    name = "cuda"

    def __init__(self, whole: CUDATarget, index: int) -> None:
        self.whole = whole
        self.index = index
        self.free_lists: dict[int, FreeList] = whole.new_free_lists(self.allocate)

    def __repr__(self) -> str:
        return f"<OneDevice cuda:{self.index}>"

    def of_device(self, index: int) -> Target:
        """The target of another device."""
        return self.whole.of_device(index)

    # ---- what it is like
    @property
    def capability(self) -> int:
        """90 is sm_90."""
        return self.whole.capability_of(self.index)

    @property
    def multiprocessors(self) -> int:
        """How many it has."""
        return self.whole.properties(self.index).multi_processor_count

    @property
    def identity(self) -> str:
        """The device's name and capability."""
        return self.whole.identity_of(self.index)

    # ---- memory
    def allocate(self, nbytes: int) -> int:
        """Memory of this device, for use on the thread's stream there."""
        with self.whole.on(self.index):
            return self.whole.allocate(nbytes)

    def free(self, address: int, nbytes: int) -> None:
        """Take back what `allocate(nbytes)` gave."""
        self.whole.free(address, nbytes)

    def free_list(self, nbytes: int) -> FreeList:
        """Where blocks of `nbytes` go when they are free."""
        return self.free_lists[nbytes]

    def copy(self, destination: int, source: int, nbytes: int) -> None:
        """Copy within this device's memory."""
        with self.whole.on(self.index):
            self.whole.copy(destination, source, nbytes)

    def upload(
        self, destination: int, source: int, nbytes: int, non_blocking: bool = False
    ) -> None:
        """Copy from the host's memory."""
        with self.whole.on(self.index):
            self.whole.upload(destination, source, nbytes, non_blocking)

    def download(
        self, destination: int, source: int, nbytes: int, non_blocking: bool = False
    ) -> None:
        """Copy to the host's memory."""
        with self.whole.on(self.index):
            self.whole.download(destination, source, nbytes, non_blocking)

    def empty_cache(self) -> None:
        """Give free memory of all devices back to the driver."""
        self.whole.empty_cache()

    # ---- work
    def error_cell(self, message: str) -> int:
        """Where a kernel may leave a wrong index: memory of the host, the same for all devices."""
        with self.whole.on(self.index):
            return self.whole.error_cell(message)

    def synchronize(self) -> None:
        """Wait for all work of this device."""
        with self.whole.on(self.index):
            self.whole.synchronize()

    def new_graph(self) -> Graph:
        """A graph of what the thread asks of its current stream."""
        return self.whole.new_graph()

    def kernels(self) -> tuple[Kernel, ...]:
        """Every kernel so far, of all devices."""
        return self.whole.kernels()

    def compile(
        self,
        source: KernelSource | Any,
        signature: Mapping[str, str],
        constants: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
    ) -> Kernel:
        """The kernel for this device's capability."""
        with self.whole.on(self.index):
            return self.whole.compile(source, signature, constants, options)

    def bind(
        self,
        kernel: Kernel,
        grid: Sequence[int],
        values: Sequence[Any],
        *,
        work: float | None = None,
        otherwise: Launch | None = None,
    ) -> Launch:
        """A launch on the thread's stream of this device, whichever its current device is."""
        whole, index = self.whole, self.index
        with whole.on(index):
            launch = whole.bind(kernel, grid, values, work=work, otherwise=otherwise)
        thread, away = whole.current.thread, whole.current.away

        def there(*given: Any) -> None:
            if thread.device == index and not away():
                launch(*given)
            else:
                with whole.on(index):
                    launch(*given)

        return there
