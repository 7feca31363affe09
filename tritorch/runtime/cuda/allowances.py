"""What not every kernel may use of a device: much shared memory, large clusters."""

from __future__ import annotations

from tritorch.errors import CompileError
from tritorch.runtime.cuda.code import KernelCode
from tritorch.runtime.cuda.driver import (
    MAX_DYNAMIC_SHARED,
    NON_PORTABLE_CLUSTER,
    SHARED_CARVEOUT,
    Driver,
)
from tritorch.runtime.cuda.properties import DeviceProperties

#: static and dynamic shared memory that every kernel may use without asking
_SHARED_BYTES = 48 << 10
#: CTAs of a cluster that every device takes
_PORTABLE_CTAS = 8


def allow(
    driver: Driver, entry: int, code: KernelCode, facts: DeviceProperties, device: int
) -> None:
    """Let a kernel use what it needs on a device.

    Raises:
        CompileError: the device does not have that much shared memory.
    """
    needed, most = code.facts.shared_bytes, facts.shared_memory_per_block_optin
    if needed > most:
        raise CompileError(
            f"{code.name}: a block needs {needed} bytes of shared memory, {facts.name} has {most}. "
            "Choose smaller blocks or fewer stages."
        )
    if needed > _SHARED_BYTES:
        driver.set_kernel_attribute(entry, MAX_DYNAMIC_SHARED, needed, device)
        # Per cent of the memory that shared memory and L1 divide; so several blocks fit.
        driver.set_kernel_attribute(entry, SHARED_CARVEOUT, 100, device)
    if code.facts.num_ctas > _PORTABLE_CTAS:
        driver.set_kernel_attribute(entry, NON_PORTABLE_CLUSTER, 1, device)
