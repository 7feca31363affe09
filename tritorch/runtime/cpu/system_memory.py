"""Pages from the operating system: mmap and munmap through ctypes, for the allocator."""

from __future__ import annotations

import ctypes
import mmap

PAGE = mmap.PAGESIZE
#: Transparent huge pages are this large on x86-64 and on aarch64 with 4 KiB pages.
HUGE_PAGE = 2 << 20

_MADV_HUGEPAGE = 14
_MAP_FIXED = 0x10
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_void_p,
)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def round_up(number: int, unit: int) -> int:
    """The least multiple of `unit` that is not below `number`."""
    return -(-number // unit) * unit


def map_pages(nbytes: int) -> int | None:
    """The address of `nbytes` (a multiple of PAGE) of zeroed memory, or None where there is none.

    From HUGE_PAGE on, the address is a multiple of it and the system is asked for huge pages: a
    first touch then costs one page fault for 2 MiB instead of 512.
    """
    if nbytes < HUGE_PAGE:
        return _map(nbytes)
    start = _map(nbytes + HUGE_PAGE)
    if start is None:
        return None
    address = round_up(start, HUGE_PAGE)
    end = address + nbytes
    if address > start:
        unmap_pages(start, address - start)
    if start + nbytes + HUGE_PAGE > end:
        unmap_pages(end, start + nbytes + HUGE_PAGE - end)
    _libc.madvise(address, nbytes, _MADV_HUGEPAGE)  # advice: without it pages are small
    return address


def map_shared(handle: int, nbytes: int) -> int | None:
    """The address of a file's first `nbytes`, shared with all who map it; None where there is no
    room. The pages are there at once, without a fault at each first touch."""
    address = _libc.mmap(
        None,
        nbytes,
        mmap.PROT_READ | mmap.PROT_WRITE,
        mmap.MAP_SHARED | mmap.MAP_POPULATE,
        handle,
        0,
    )
    return None if address == _MAP_FAILED else address


def map_shared_pages(nbytes: int) -> int | None:
    """The address of `nbytes` (a multiple of PAGE) of zeroed memory that forks share, or None."""
    return _map(nbytes, mmap.MAP_SHARED)


def replace_pages(address: int, pages: int, nbytes: int) -> bool:
    """Move the mapping at `pages` to `address`, in place of what is mapped there, in one step."""
    flags = _MREMAP_MAYMOVE | _MREMAP_FIXED
    return bool(_libc.mremap(pages, nbytes, nbytes, flags, address) == address)


def make_private(address: int, nbytes: int) -> bool:
    """Zeroed memory of this process alone in place of what is mapped at `address`."""
    return _map(nbytes, mmap.MAP_PRIVATE | _MAP_FIXED, address) == address


def unmap_pages(address: int, nbytes: int) -> None:
    """Give pages back."""
    _libc.munmap(address, nbytes)


def _map(nbytes: int, kind: int = mmap.MAP_PRIVATE, where: int | None = None) -> int | None:
    if nbytes >= 1 << 62:
        return None
    address = _libc.mmap(
        where,
        nbytes,
        mmap.PROT_READ | mmap.PROT_WRITE,
        kind | mmap.MAP_ANONYMOUS,
        -1,
        0,
    )
    return None if address == _MAP_FAILED else address
