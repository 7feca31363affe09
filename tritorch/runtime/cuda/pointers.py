"""What the driver knows of an address, whoever allocated the memory."""

from __future__ import annotations

from tritorch.runtime.cuda.driver import (
    INVALID_VALUE,
    MEMORY_OF_HOST,
    POINTER_DEVICE,
    POINTER_MEMORY_TYPE,
    Driver,
    DriverError,
)


def _attribute(driver: Driver, attribute: int, address: int) -> int | None:
    try:
        return driver.pointer_attribute(attribute, address)
    except DriverError as error:
        if error.code != INVALID_VALUE:
            raise
        return None


def device_of(driver: Driver, address: int) -> int:
    """The number of the device whose memory this is.

    Raises:
        ValueError: no device's.
    """
    found = _attribute(driver, POINTER_DEVICE, address)
    if found is None or found < 0:
        raise ValueError(
            f"cuda: the address {address:#x} is not in a device's memory, as far as the driver "
            "knows. Copy what is on the host to a device first."
        )
    return found


def is_pinned(driver: Driver, address: int) -> bool:
    """Whether this is page-locked memory of the host."""
    return _attribute(driver, POINTER_MEMORY_TYPE, address) == MEMORY_OF_HOST
