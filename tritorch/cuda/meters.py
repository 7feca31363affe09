"""What NVIDIA's management library (NVML) measures, through its package nvidia-ml-py."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tritorch.cuda.devices import get_device_properties


def _nvml(device: Any) -> tuple[Any, Any]:
    """The package, and its handle of a device."""
    uuid = get_device_properties(device).uuid
    try:
        pynvml = import_module("pynvml")
    except ImportError:
        raise ModuleNotFoundError(
            "nvidia-ml-py does not seem to be installed. Run pip install nvidia-ml-py."
        ) from None
    pynvml.nvmlInit()
    return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")


def utilization(device: Any = None) -> int:
    """Per cent of the last sample period in which a kernel ran."""
    pynvml, handle = _nvml(device)
    return int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)


def memory_usage(device: Any = None) -> int:
    """Per cent of the last sample period in which memory was read or written."""
    pynvml, handle = _nvml(device)
    return int(pynvml.nvmlDeviceGetUtilizationRates(handle).memory)


def device_memory_used(device: Any = None) -> int:
    """Bytes in use by all processes."""
    pynvml, handle = _nvml(device)
    return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)


def temperature(device: Any = None) -> int:
    """Degrees Celsius."""
    pynvml, handle = _nvml(device)
    return int(pynvml.nvmlDeviceGetTemperature(handle, 0))


def power_draw(device: Any = None) -> int:
    """Milliwatts."""
    pynvml, handle = _nvml(device)
    return int(pynvml.nvmlDeviceGetPowerUsage(handle))


def clock_rate(device: Any = None) -> int:
    """MHz of the multiprocessors."""
    pynvml, handle = _nvml(device)
    return int(pynvml.nvmlDeviceGetClockInfo(handle, 1))


def list_gpu_processes(device: Any = None) -> str:
    """The processes that hold memory of a device, a line each."""
    pynvml, handle = _nvml(device)
    lines = [f"GPU:{device if device is not None else 0}"]
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    for process in processes:
        used = (process.usedGpuMemory or 0) / (1 << 20)
        lines.append(f"process {process.pid:>10d} uses {used:>12.3f} MB GPU memory")
    return "\n".join(lines if processes else [*lines, "no processes are running"])
