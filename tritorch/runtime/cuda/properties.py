"""What there is to know about a device."""

from __future__ import annotations

from dataclasses import dataclass

from tritorch.runtime.cuda import driver as cu
from tritorch.runtime.cuda.driver import Driver


@dataclass(frozen=True)
class DeviceProperties:
    """What there is to know about a device. Sizes in bytes, clocks in kHz."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    max_threads_per_multi_processor: int
    regs_per_multiprocessor: int
    shared_memory_per_block: int
    shared_memory_per_block_optin: int
    shared_memory_per_multiprocessor: int
    warp_size: int
    L2_cache_size: int
    clock_rate: int
    memory_clock_rate: int
    memory_bus_width: int
    is_integrated: int
    uuid: str


_ATTRIBUTES = {
    "major": cu.CAPABILITY_MAJOR,
    "minor": cu.CAPABILITY_MINOR,
    "multi_processor_count": cu.MULTIPROCESSORS,
    "max_threads_per_multi_processor": cu.MAX_THREADS_PER_MULTIPROCESSOR,
    "regs_per_multiprocessor": cu.REGISTERS_PER_MULTIPROCESSOR,
    "shared_memory_per_block": cu.SHARED_BYTES_PER_BLOCK,
    "shared_memory_per_block_optin": cu.SHARED_BYTES_OPTIN,
    "shared_memory_per_multiprocessor": cu.SHARED_BYTES_PER_MULTIPROCESSOR,
    "warp_size": cu.WARP_SIZE,
    "L2_cache_size": cu.L2_BYTES,
    "clock_rate": cu.CLOCK_KHZ,
    "memory_clock_rate": cu.MEMORY_CLOCK_KHZ,
    "memory_bus_width": cu.MEMORY_BUS_BITS,
    "is_integrated": cu.INTEGRATED,
}


def properties_of(driver: Driver, device: int) -> DeviceProperties:
    """Of device number `device`, as the driver tells."""
    raw = driver.device_uuid(device).hex()
    uuid = "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))
    numbers = {
        name: driver.device_attribute(device, attribute) for name, attribute in _ATTRIBUTES.items()
    }
    return DeviceProperties(
        name=driver.device_name(device),
        total_memory=driver.device_bytes(device),
        uuid=uuid,
        **numbers,
    )
