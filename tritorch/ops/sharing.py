"""Tensors whose memory forked processes share: `share_memory_`, `is_shared`."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterable
from itertools import chain
from types import FrameType
from typing import Any

from tritorch.ops.declare import method, takes
from tritorch.runtime import Storage, recording
from tritorch.runtime.cpu import shared_memory
from tritorch.tensor import Tensor


@method("is_shared")
def is_shared(input: Tensor) -> bool:
    """Whether processes forked from now on see each other's writes to it; True on a GPU."""
    return input._layout.device.type != "cpu" or shared_memory.is_shared(input._storage)


@method("share_memory_")
@takes("all")
def share_memory_(input: Tensor) -> Tensor:
    """Move its memory to where forked processes see each other's writes; its views move along.

    Nothing happens where it is shared already, or on a GPU. Nobody else may write to it meanwhile.
    Other processes see it if they are forked (`os.fork`, multiprocessing's "fork") later; when it
    is pickled it is copied.

    Raises:
        RuntimeError: something that is no tensor (an array, a graph) holds memory that must move.
    """
    share([input])
    return input


def share(tensors: Iterable[Tensor]) -> None:
    """`share_memory_` of all of them: those that move are looked for once."""
    recording.refuse("sharing memory", "Do it before the recording.")
    moving: dict[int, Storage] = {}
    for tensor in tensors:
        if is_shared(tensor):
            continue
        storage = tensor._storage
        while isinstance(storage.owner, Storage):  # `data` borrows
            storage = storage.owner
        if not shared_memory.share_in_place(storage):
            moving[id(storage)] = storage
    if moving:
        _move(moving)


def _move(moving: dict[int, Storage]) -> None:
    """Give every tensor on these storages new ones of the same contents."""
    tensors: list[Tensor] = []
    layers = [list(moving.values())]  # each borrows from the one before
    own: list[Any] = [moving, layers[0]]
    while layers[-1]:
        holders = gc.get_referrers(*layers[-1])
        borrowing: list[Storage] = []
        own += (holders, borrowing)
        for holder in holders:
            if isinstance(holder, Tensor):
                tensors.append(holder)
            elif isinstance(holder, Storage):
                borrowing.append(holder)
            elif not (isinstance(holder, FrameType) or any(holder is known for known in own)):
                raise RuntimeError(
                    "share_memory_: the memory must move, and something else holds it too: "
                    f"{type(holder).__name__} (of an array, or of a recorded graph). Share tensors "
                    "before others use them."
                )
        layers.append(borrowing)
    new: dict[int, Storage] = {}
    for old in chain.from_iterable(layers):  # owners come before those that borrow
        owner = new.get(id(old.owner))
        if owner is None:
            pages = shared_memory.SharedPages(old.nbytes)
            ctypes.memmove(pages.address, old.address, old.nbytes)
            made = Storage.borrow(pages.address, old.nbytes, pages)
        else:
            address = owner.address + old.address - old.owner.address
            made = Storage.borrow(address, old.nbytes, owner)
        made.version = old.version
        new[id(old)] = made
    for tensor in tensors:
        made = new[id(tensor._storage)]
        tensor._address += made.address - tensor._storage.address
        tensor._storage = made
