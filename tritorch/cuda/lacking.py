"""What `torch.cuda` has and `tritorch.cuda` does not, and what to do instead."""

from __future__ import annotations

_POOLS = "There is one allocator. Free what is not needed, or see set_per_process_memory_fraction."
_LIBRARIES = "No library of NVIDIA's computes here: every kernel is Triton's."
_DEBUG = "Use TRITORCH_LAUNCH_BLOCKING=1 to find what failed, tritorch.profile to find what waits."
_REASONS = {
    "CUDAPluggableAllocator": _POOLS,
    "MemPool": _POOLS,
    "caching_allocator_disabled": _POOLS,
    "caching_allocator_enable": _POOLS,
    "change_current_allocator": _POOLS,
    "use_mem_pool": _POOLS,
    "host_memory_stats": "Pinned memory is not counted; empty_cache() gives it back.",
    "GreenContext": "Streams share all multiprocessors. Use priorities of streams.",
    "green_contexts": "Streams share all multiprocessors. Use priorities of streams.",
    "current_blas_handle": _LIBRARIES,
    "current_solver_handle": _LIBRARIES,
    "cudart": "Only the driver is called, through cuda.bindings.driver, which programs may, too.",
    "comm": "Copy between devices with x.to(...).",
    "nccl": "There is no collective communication.",
    "check_error": "Calls that fail raise AcceleratorError.",
    "gds": "Read into pinned memory, and copy from there.",
    "get_gencode_flags": "Kernels are compiled when they are needed. See get_arch_list().",
    "get_sync_debug_mode": _DEBUG,
    "set_sync_debug_mode": _DEBUG,
    "jiterator": "Write a kernel in Triton.",
    "sparse": "There are no sparse tensors.",
    "tunable": "See tritorch.tune.",
}


def refused(name: str) -> AttributeError:
    """The error for a name that `tritorch.cuda` does not have."""
    reason = _REASONS.get(name)
    advice = "" if reason is None else f". {reason}"
    return AttributeError(f"module 'tritorch.cuda' has no attribute {name!r}{advice}")
