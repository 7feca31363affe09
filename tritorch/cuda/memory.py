"""What the caching allocator holds; bytes throughout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tritorch.cuda.devices import device, index_of, is_available, target

if TYPE_CHECKING:
    from tritorch.runtime.cuda.allocator import CachingAllocator


def _allocator(of: Any) -> CachingAllocator:
    return target().allocator(index_of(of))


def memory_stats(device: Any = None) -> dict[str, int]:
    """The allocator's figures under PyTorch's names, such as `allocated_bytes.all.peak`; nothing
    where there is no GPU.
    """
    return _allocator(device).figures.as_dict() if is_available() else {}


def memory_stats_as_nested_dict(device: Any = None) -> dict[str, Any]:
    """The same as dictionaries of dictionaries."""
    found: dict[str, Any] = {}
    for name, value in memory_stats(device).items():
        *outer, last = name.split(".")
        place = found
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def memory_allocated(device: Any = None) -> int:
    """Bytes of blocks that tensors hold now."""
    return memory_stats(device).get("allocated_bytes.all.current", 0)


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes of blocks that tensors held at once."""
    return memory_stats(device).get("allocated_bytes.all.peak", 0)


def memory_reserved(device: Any = None) -> int:
    """Bytes that were taken from the driver."""
    return memory_stats(device).get("reserved_bytes.all.current", 0)


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that were taken from the driver at once."""
    return memory_stats(device).get("reserved_bytes.all.peak", 0)


def reset_peak_memory_stats(device: Any = None) -> None:
    """Highest values count from now on."""
    if is_available():
        _allocator(device).figures.reset_peak()


reset_max_memory_allocated = reset_peak_memory_stats


def reset_accumulated_memory_stats(device: Any = None) -> None:
    """Sums count from now on."""
    if is_available():
        _allocator(device).figures.reset_accumulated()


def memory_snapshot() -> list[dict[str, Any]]:
    """Segments and their blocks, of all devices that were used."""
    if not is_available():
        return []
    found = []
    for number in range(target().current.count):
        for segment in target().allocator(number).snapshot():
            found.append({"device": number, **segment})
    return found


def empty_cache() -> None:
    """Give memory that no tensor holds back to the driver."""
    if is_available():
        target().empty_cache()


def mem_get_info(of: Any = None) -> tuple[int, int]:
    """(free, total) bytes of a device, as the driver counts."""
    with device(index_of(of)), target().calling() as driver:
        return driver.memory_info()


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """Let this process reserve no more than a part of a device's memory.

    Raises:
        ValueError: the fraction is not within 0..1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    total = target().properties(index_of(device)).total_memory
    _allocator(device).limit = int(total * fraction)


def get_per_process_memory_fraction(device: Any = None) -> float:
    """The part of a device's memory that this process may reserve."""
    limit = _allocator(device).limit
    return 1.0 if limit is None else limit / target().properties(index_of(device)).total_memory


def get_allocator_backend() -> str:
    """Whose memory it is: `native`, since the allocator here is the only one."""
    return "native"


def caching_allocator_alloc(size: int, device: Any = None, stream: Any = None) -> int:
    """The address of memory that is the caller's until `caching_allocator_delete`.

    Args:
        stream: where it is used, as a `Stream` or its handle; None: the current one.
    """
    found, index = target(), index_of(device)
    if stream is None:
        handle = found.current.stream_of(index)[0]
    else:
        handle = getattr(stream, "cuda_stream", stream)
    with found.on(index), found.calling():
        return found.allocator(index).allocate(size, handle)


def caching_allocator_delete(mem_ptr: int) -> None:
    """Take back what `caching_allocator_alloc` gave."""
    target().free(mem_ptr, 0)


_ROWS = (
    ("Allocated memory", "allocated_bytes", True),
    ("Active memory", "active_bytes", True),
    ("Requested memory", "requested_bytes", True),
    ("GPU reserved memory", "reserved_bytes", True),
    ("Non-releasable memory", "inactive_split_bytes", True),
    ("Allocations", "allocation", False),
    ("Active allocs", "active", False),
    ("GPU reserved segments", "segment", False),
    ("Non-releasable allocs", "inactive_split", False),
)
_POOLS = (("", "all"), ("from large pool", "large_pool"), ("from small pool", "small_pool"))


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """The figures as a table to print."""
    stats = _allocator(device).figures.as_dict()
    ooms, retries = stats["num_ooms"], stats["num_alloc_retries"]
    line = "|" + "=" * 75 + "|"
    shown = [
        line,
        f"|{f'tritorch CUDA memory summary, device ID {index_of(device)}':^75}|",
        f"|{f'CUDA OOMs: {ooms}':^37}|{f'retries: {retries}':^37}|",
        line,
        "| " + " | ".join(["Metric".ljust(22), *(f"{n:>10}" for n in _COLUMNS)]) + " |",
        line,
    ]
    for title, name, is_bytes in _ROWS:
        for place, pool in _POOLS[:1] if abbreviated else _POOLS:
            figures = [stats[f"{name}.{pool}.{kind}"] for kind in _KINDS]
            cells = [f"{_short(n) if is_bytes else n:>10}" for n in figures]
            shown.append(
                "| " + " | ".join([(f"  {place}" if place else title).ljust(22), *cells]) + " |"
            )
    return "\n".join([*shown, line, ""])


_KINDS = ("current", "peak", "allocated", "freed")
_COLUMNS = ("Cur Usage", "Peak Usage", "Tot Alloc", "Tot Freed")


def _short(nbytes: int) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(nbytes) < 10_000 or unit == "GiB":
            return f"{nbytes} {unit}"
        nbytes //= 1024
    return ""
