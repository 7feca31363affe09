"""Which devices there are, which one work goes to, what they are like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from tritorch.devices import device as Device
from tritorch.errors import DeviceError
from tritorch.once import once
from tritorch.runtime import get_target, started_target

if TYPE_CHECKING:
    from tritorch.runtime.cuda.properties import DeviceProperties
    from tritorch.runtime.cuda.target import CUDATarget


def target() -> CUDATarget:
    """The target.

    Raises:
        DeviceError: there is no GPU here.
    """
    return cast("CUDATarget", get_target("cuda"))


@once
def _can_start() -> bool:
    try:
        get_target("cuda")
    except DeviceError:
        return False
    return True


def is_available() -> bool:
    """Whether tensors can live on a GPU: a driver, a device and cuda-bindings are there."""
    return started_target("cuda") is not None or _can_start()


def device_count() -> int:
    """The number of usable GPUs."""
    return target().current.count if is_available() else 0


def init() -> None:
    """Start the driver now; otherwise it starts when it is needed."""
    with target().calling():
        pass


def is_initialized() -> bool:
    """Whether the driver has been used."""
    found = cast("CUDATarget | None", started_target("cuda"))
    return found is not None and found.current.started


def index_of(device: Any) -> int:
    """The number of a device given as `torch.device`, str, number or None (the current one).

    Raises:
        ValueError: it is no CUDA device. DeviceError: it does not exist.
    """
    if device is None:
        return target().current.thread.device
    found = Device(device)
    if found.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {found}")
    here = target().current
    index = here.thread.device if found.index is None else found.index
    if not 0 <= index < here.count:
        raise DeviceError(f"cuda: invalid device ordinal {index}: there are {here.count} devices.")
    return index


def current_device() -> int:
    """The device that this thread's work goes to."""
    return target().current.thread.device


def set_device(device: Any) -> None:
    """Send this thread's work to another device; a negative number changes nothing."""
    if isinstance(device, int) and device < 0:
        return
    target().set_device(index_of(device))


class device:
    """Work of a block goes to a device; the one before is restored. None or -1: no change."""

    def __init__(self, device: Any) -> None:
        absent = device is None or (isinstance(device, int) and device < 0)
        self.idx = -1 if absent else index_of(device)
        self.prev_idx = -1
        self._was_ready = False

    def __enter__(self) -> None:
        if self.idx >= 0:
            thread = target().current.thread
            self.prev_idx, self._was_ready = thread.device, thread.ready
            set_device(self.idx)

    def __exit__(self, *_exception: Any) -> None:
        if self.idx >= 0:  # a device that was not used yet gets no context now
            with target().calling():
                target().current.go_back(self.prev_idx, self._was_ready)


class device_of(device):
    """Work of a block goes to the device of a tensor, if that is a GPU."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device() if obj.is_cuda else None)


def get_device_properties(device: Any = None) -> DeviceProperties:
    """Name, memory in bytes, capability, multiprocessors and more."""
    return target().properties(index_of(device))


def get_device_name(device: Any = None) -> str:
    """Such as 'NVIDIA H200'."""
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """(9, 0) for sm_90."""
    facts = get_device_properties(device)
    return facts.major, facts.minor


def get_arch_list() -> list[str]:
    """Architectures that kernels are compiled for: those of the devices here."""
    if not is_available():
        return []
    found = {get_device_capability(index) for index in range(device_count())}
    return [f"sm_{major}{minor}" for major, minor in sorted(found)]


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether bfloat16 is fast (sm_80 and later), or works at all."""
    return is_available() and (including_emulation or get_device_capability()[0] >= 8)


def is_tf32_supported() -> bool:
    """Whether products of float32 may use tensor cores (sm_80 and later)."""
    return is_available() and get_device_capability()[0] >= 8


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Whether one device reaches another one's memory directly."""
    first, second = index_of(device), index_of(peer_device)
    return first != second and target().driver.can_access_peer(first, second)


def synchronize(device: Any = None) -> None:
    """Wait for all work of a device (None: the current one).

    Raises:
        IndexError: a kernel met a wrong index. AcceleratorError: a kernel failed.
    """
    with target().on(index_of(device)):
        target().synchronize()
