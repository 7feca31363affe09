"""What went wrong on the device, in words: failed calls, and indices out of bounds.

The host hears of a kernel's failure late, from a later call. So errors name the last kernels that
were launched; with TRITORCH_LAUNCH_BLOCKING=1 every launch is waited for and the name is certain.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from tritorch.errors import AcceleratorError, BoundsError, DeviceAssertError, OutOfMemoryError
from tritorch.runtime.cuda.driver import (
    ASSERT,
    OUT_OF_MEMORY,
    STICKY,
    Driver,
    DriverError,
    relaxed,
)

#: how many kernels an error names
_NAMED = 8
NO_ERROR = -(1 << 63)
_CELLS_IN_A_PAGE = 512


def translated(error: DriverError, recent: tuple[str, ...], certain: bool = False) -> Exception:
    """The user's error for a failed call of the driver.

    Args:
        recent: names of the last kernels, the last one first.
        certain: whether the first of them is known to have failed.
    """
    if error.code == OUT_OF_MEMORY and error.call == "cuMemHostAlloc":
        return OutOfMemoryError(
            f"CUDA out of memory: the host has no memory left to page-lock ({error}). Pin less, "
            "or call torch.cuda.empty_cache()."
        )
    if error.code == OUT_OF_MEMORY:
        return OutOfMemoryError(f"CUDA out of memory: {error}. Free tensors, or use smaller ones.")
    if error.code not in STICKY:
        return AcceleratorError(f"cuda: {error}.")
    where = f"kernel {recent[0]}" if certain and recent else _last(recent)
    advice = "" if certain else " Set TRITORCH_LAUNCH_BLOCKING=1 to learn which one."
    lost = "The device cannot be used by this process any more; start it again."
    if error.code == ASSERT:
        return DeviceAssertError(f"cuda: tl.device_assert failed in {where}.{advice} {lost}")
    what = error.name.removeprefix("CUDA_ERROR_").lower().replace("_", " ")
    return AcceleratorError(f"cuda: {what} ({error.code}) in {where}.{advice} {lost}")


def _last(recent: tuple[str, ...]) -> str:
    if not recent:
        return "work that this process did not launch as a kernel"
    return f"one of the last kernels ({', '.join(recent[:_NAMED])}; the last one first)"


class ErrorCells:
    """64-bit cells in page-locked host memory where kernels leave wrong indices.

    The host reads them wherever it waits for the device anyway.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lock = threading.Lock()
        self._pages: list[int] = []
        self._messages: list[str] = []
        self._clean = NO_ERROR.to_bytes(8, "little", signed=True) * _CELLS_IN_A_PAGE

    def cell(self, message: str) -> int:
        """The address of a new cell, for host and device.

        Args:
            message: of the IndexError; `{index}` stands for what a kernel leaves there.
        """
        with self._lock:
            place = len(self._messages) % _CELLS_IN_A_PAGE
            if place == 0:
                with relaxed(self._driver):
                    page = self._driver.allocate_pinned(len(self._clean))
                ctypes.memmove(page, self._clean, len(self._clean))
                self._pages.append(page)
            self._messages.append(message)
            return self._pages[-1] + 8 * place

    def check(self) -> None:
        """Raise for the first wrong index, and forget all.

        Raises:
            BoundsError: a kernel met one.
        """
        for number, page in enumerate(self._pages):
            if ctypes.string_at(page, len(self._clean)) != self._clean:
                self._raise(number, page)

    def _raise(self, number: int, page: int) -> None:
        values = (ctypes.c_int64 * _CELLS_IN_A_PAGE).from_address(page)
        place = next(place for place, value in enumerate(values) if value != NO_ERROR)
        index = values[place]
        self.clear()
        message = self._messages[number * _CELLS_IN_A_PAGE + place]
        raise BoundsError(message.format(index=index))

    def clear(self) -> None:
        """Forget what kernels left."""
        for page in self._pages:
            ctypes.memmove(page, self._clean, len(self._clean))


#: makes the user's error of a driver's
Translate = Callable[[DriverError], Exception]
