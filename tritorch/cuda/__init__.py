"""`tritorch.cuda`: NVIDIA GPUs as PyTorch's programs know them.

`devices` chooses devices and describes them, `streams` has streams and events, `memory` the
allocator's figures, `graphs` and `graphed` recorded work, `random` seeds, `meters` load and heat,
`nvtx` and `profiler` what profilers show; `lacking` says what there is not. Importing this starts
nothing: the driver is asked when a function needs it. Work goes to the device of its tensors; new
tensors on "cuda" go to the thread's current device.
"""

from __future__ import annotations

from typing import Any

from tritorch.cuda.devices import (
    can_device_access_peer,
    current_device,
    device,
    device_count,
    device_of,
    get_arch_list,
    get_device_capability,
    get_device_name,
    get_device_properties,
    init,
    is_available,
    is_bf16_supported,
    is_initialized,
    is_tf32_supported,
    set_device,
    synchronize,
)
from tritorch.cuda.graphs import (
    CUDAGraph,
    graph,
    graph_pool_handle,
    is_current_stream_capturing,
)
from tritorch.cuda.memory import (
    caching_allocator_alloc,
    caching_allocator_delete,
    empty_cache,
    get_allocator_backend,
    get_per_process_memory_fraction,
    max_memory_allocated,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_reserved,
    memory_snapshot,
    memory_stats,
    memory_stats_as_nested_dict,
    memory_summary,
    reset_accumulated_memory_stats,
    reset_max_memory_allocated,
    reset_peak_memory_stats,
    set_per_process_memory_fraction,
)
from tritorch.cuda.random import (
    get_rng_state,
    get_rng_state_all,
    initial_seed,
    manual_seed,
    manual_seed_all,
    seed,
    seed_all,
    set_rng_state,
    set_rng_state_all,
)
from tritorch.cuda.streams import (
    Event,
    ExternalStream,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    get_stream_from_external,
    set_stream,
    stream,
)
from tritorch.errors import AcceleratorError, OutOfMemoryError

#: deprecated names of PyTorch's
CudaError = AcceleratorError
memory_cached, max_memory_cached = memory_reserved, max_memory_reserved
reset_max_memory_cached = reset_peak_memory_stats
has_half, has_magma = True, False

#: what few programs ask for, and where it is: importing tritorch does not import it
_LATER = {
    "make_graphed_callables": "graphed",
    **dict.fromkeys(
        (
            "clock_rate", "device_memory_used", "list_gpu_processes", "memory_usage", "power_draw",
            "temperature", "utilization",
        ),
        "meters",
    ),
    **dict.fromkeys(
        (
            "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor",
            "FloatTensor", "HalfTensor", "IntTensor", "LongTensor", "ShortTensor",
        ),
        "tensor_types",
    ),
}  # fmt: skip
_MODULES = ("amp", "nvtx", "profiler")

__all__ = [
    "AcceleratorError", "CUDAGraph", "CudaError", "Event", "ExternalStream", "OutOfMemoryError",
    "Stream", "StreamContext", "caching_allocator_alloc", "caching_allocator_delete",
    "can_device_access_peer", "current_device", "current_stream", "default_stream", "device",
    "device_count", "device_of", "empty_cache", "get_allocator_backend", "get_arch_list",
    "get_device_capability", "get_device_name", "get_device_properties",
    "get_per_process_memory_fraction", "get_rng_state", "get_rng_state_all",
    "get_stream_from_external", "graph", "graph_pool_handle", "has_half", "has_magma", "init",
    "initial_seed", "ipc_collect", "is_available", "is_bf16_supported",
    "is_current_stream_capturing", "is_initialized", "is_tf32_supported", "manual_seed",
    "manual_seed_all", "max_memory_allocated", "max_memory_cached", "max_memory_reserved",
    "mem_get_info", "memory_allocated", "memory_cached", "memory_reserved", "memory_snapshot",
    "memory_stats", "memory_stats_as_nested_dict", "memory_summary",
    "reset_accumulated_memory_stats", "reset_max_memory_allocated", "reset_max_memory_cached",
    "reset_peak_memory_stats", "seed", "seed_all", "set_device", "set_per_process_memory_fraction",
    "set_rng_state", "set_rng_state_all", "set_stream", "stream", "synchronize", *_LATER,
]  # fmt: skip


def ipc_collect() -> None:
    """Nothing to do: memory of GPUs is not shared between processes."""


def __getattr__(name: str) -> Any:
    """What is imported when it is asked for; what there is not is told by `lacking`."""
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"tritorch.cuda.{name}")
    if name in _LATER:
        return getattr(import_module(f"tritorch.cuda.{_LATER[name]}"), name)
    if name == "default_generators":
        from tritorch.ops.random import default_generator

        return (default_generator,) * device_count()
    if name.startswith("__"):
        raise AttributeError(f"module 'tritorch.cuda' has no attribute {name!r}")
    from tritorch.cuda.lacking import refused

    raise refused(name)
