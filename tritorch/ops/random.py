"""Random tensors: Philox numbers, the same on every target for one seed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd import inplace
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import grad_mode_state as mode
from tritorch.autograd.node import Node
from tritorch.devices import cpu
from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernels import random as kernels
from tritorch.kernels.templates.shuffle_gpu import plan_shuffle
from tritorch.kernels.templates.sort import GPU_ROW
from tritorch.layout import Layout, contiguous_format
from tritorch.ops.creation import _finished, _like, _sizes
from tritorch.ops.declare import method, takes, without_gradient, writes
from tritorch.ops.dispatch import Plans
from tritorch.ops.memory import FillBackward0, contiguous, dense
from tritorch.ops.placement import resolve_device, resolve_dtype, shape_of
from tritorch.ops.views import expand
from tritorch.runtime import recording
from tritorch.tensor import Tensor, empty, from_array


class Generator:
    """A source of random numbers: a seed and how many numbers were drawn."""

    def __init__(self, device: Any = "cpu") -> None:
        self.device = Device(device)
        self._lock = threading.Lock()
        self._seed = 67280421310721
        self._offset = 0

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from a seed."""
        recording.refuse("manual_seed", "Seed generators before the recording, or before replays.")
        self._seed, self._offset = int(seed) % (1 << 63), 0
        return self

    def seed(self) -> int:
        """Start anew from a seed taken from the clock, which is returned."""
        return self.manual_seed(time.time_ns()).initial_seed()

    def initial_seed(self) -> int:
        """The seed it was started from."""
        return self._seed

    def get_state(self) -> Tensor:
        """The state as a tensor of bytes, for `set_state`."""
        return from_array(np.array([self._seed, self._offset], np.int64).view(np.uint8), cpu)

    def set_state(self, new_state: Tensor) -> Generator:
        """Continue from a saved state."""
        if not isinstance(new_state, Tensor) or new_state.dtype is not dtypes.uint8:
            kind = getattr(new_state, "dtype", type(new_state).__name__)
            raise TypeError(f"set_state: RNG state must be a torch.ByteTensor, got {kind}.")
        if new_state.numel() != 16:
            raise RuntimeError(
                f"set_state: expected a state of 16 bytes, got {new_state.numel()}. Give what "
                "get_state gave."
            )
        recording.refuse("set_state", "Set states before the recording, or before replays.")
        self._seed, self._offset = map(int, np.array(new_state.numpy()).view(np.int64))
        return self

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        return Generator(self.device).set_state(self.get_state())

    def reserve(self, count: int) -> tuple[int, int]:
        """(seed, offset) for drawing so many numbers."""
        with self._lock:
            offset = self._offset
            self._offset += count
        if recording.current is not None and (found := recording.here()) is not None:
            found.drawn(self, self._seed, offset, count)
        elif recording.device_graphs:
            graph = recording.device_graphs.get(threading.get_ident())
            if graph is not None:
                graph.drawn(self, self._seed, offset, count)
        return self._seed, offset

    def take_back(self, count: int) -> None:
        """The last numbers that were reserved are not used after all."""
        with self._lock:
            self._offset -= count


default_generator = Generator()


def _after_fork_in_child() -> None:
    default_generator._lock = threading.Lock()  # a thread that is no more may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


def manual_seed(seed: int) -> Generator:
    """Start the default generator anew; the same numbers follow on every machine."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Start the default generator from the clock."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Continue the default generator from a saved state."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, device_type: str = "cpu") -> Iterator[None]:
    """Draw in the block without consequences for what is drawn behind it."""
    state = default_generator.get_state()
    try:
        yield
    finally:
        if enabled:
            default_generator.set_state(state)


# ---- plans: launch(out, *numbers, seed, offset)


def _kernel(name: str, dtype: Dtype, span: int) -> Any:
    if name == "uniform":
        return kernels.uniform_kernel(dtype)
    if name == "normal":
        return kernels.normal_kernel(dtype)
    if name == "randint":
        return kernels.randint_kernel(0, span)
    return getattr(kernels, name)


def _plan(key: tuple[Any, ...]) -> Any:
    name, layout, count, span = key
    kind = layout.dtype
    number: type = int
    if name == "randint":
        compute = dtypes.int64
    else:
        number, compute = float, kind if kind.is_floating_point else dtypes.float32
    plan = _kernel(name, kind, span).plan(
        [number] * count + [int, int], [compute] * count + [dtypes.int64, dtypes.int64],
        [kind], out_layouts=[layout], device=layout.device,
    )  # fmt: skip
    return plan.launch


_plans = Plans(_plan)


def draw(
    name: str, target: Tensor, numbers: tuple[Any, ...], generator: Generator | None
) -> Tensor:
    """Fill a tensor from a distribution; no history, no checks."""
    layout = target._layout
    if name == "randint":
        span = 1 << 62 if numbers[1] - numbers[0] > 1 << 31 else 1
    else:
        span = 0
    where = (generator or default_generator).reserve(layout.numel)
    _plans[name, layout, len(numbers), span](target._address, *numbers, *where)
    return target


def _new(
    name: str, sizes: tuple[Any, ...], dtype: Any, device: Any, fallback: Dtype | None = None
) -> Tensor:
    kind = resolve_dtype(dtype, name, fallback)
    return empty(Layout.contiguous(kind, shape_of(name, sizes), resolve_device(device)))


def _check_floating(name: str, tensor: Tensor) -> None:
    if not tensor._layout.dtype.is_floating_point and tensor._layout.numel:
        raise RuntimeError(
            f'"{name}" not implemented for {tensor._layout.dtype}. Use a floating-point dtype.'
        )


@writes
@takes("floating", "float8")
def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1)."""
    result = _new("rand", _sizes(size, options), dtype, device)
    _check_floating("rand", result)
    return _finished(draw("uniform", result, (0.0, 1.0), generator), requires_grad)


@writes
@takes("floating", "float8")
def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """Normal numbers with mean 0 and standard deviation 1."""
    result = _new("randn", _sizes(size, options), dtype, device)
    _check_floating("randn", result)
    return _finished(draw("normal", result, (0.0, 1.0), generator), requires_grad)


@writes
@takes("floating", "integers", "bool")
def randint(
    low: int, high: Any = None, size: Any = None, *, generator: Generator | None = None,
    dtype: Any = None, device: Any = None, requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """Whole numbers in [low, high); `randint(high, size)` starts at 0."""
    if size is None:
        low, high, size = 0, low, high
    low, high = int(low), int(high)
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got {low} >= {high}")
    result = _new("randint", (size,), dtype, device, dtypes.int64)
    return _finished(draw("randint", result, (low, high), generator), requires_grad)


@without_gradient
@takes("floating", "float8")
def rand_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    generator: Generator | None = None, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1), of the same shape, dtype and device."""
    result = _like("rand_like", input, dtype, device, None, False)
    _check_floating("rand_like", result)
    return _finished(draw("uniform", result, (0.0, 1.0), generator), requires_grad)


@without_gradient
@takes("floating", "float8")
def randn_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    generator: Generator | None = None, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Standard normal numbers, of the same shape, dtype and device."""
    result = _like("randn_like", input, dtype, device, None, False)
    _check_floating("randn_like", result)
    return _finished(draw("normal", result, (0.0, 1.0), generator), requires_grad)


@without_gradient
@takes("floating", "integers", "bool")
def randint_like(
    input: Tensor, low: int, high: Any = None, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """Whole numbers in [low, high), of the same shape, dtype and device."""
    if high is None:
        low, high = 0, low
    result = _like("randint_like", input, dtype, device, None, False)
    return draw("randint", result, (int(low), int(high)), None)


@writes
@takes("floating", "float8")
def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None,
    dtype: Any = None, device: Any = None,
) -> Tensor:  # fmt: skip
    """Normal numbers; mean and std are numbers (then `size` is needed) or tensors."""
    if not isinstance(std, Tensor) and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        shaped = mean + std * 0 if isinstance(std, Tensor) else mean
        noise = randn_like(contiguous(shaped.detach()), generator=generator)
        return noise * std + mean
    result = _new("normal", (() if size is None else size,), dtype, device)
    return draw("normal", result, (float(mean), float(std)), generator)


_shuffles = Plans(plan_shuffle)


@writes
@takes("floating", "integers", "bool")
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    **options: Any,
) -> Tensor:
    """The numbers 0 to n - 1 in random order."""
    from tritorch.ops.sorting import argsort

    _sizes((), options)
    kind = resolve_dtype(dtype, "randperm", dtypes.int64)
    keys = _new("randperm", (n,), dtypes.int64, device)
    draw("randint", keys, (0, 1 << 62), generator)
    if keys._layout.device.type == "cpu" or n <= GPU_ROW:
        return argsort(keys).to(kind)
    plan = _shuffles[keys._layout]
    order = empty(plan.outputs[0])
    plan.launch(order._address, keys._address)
    return order.to(kind)


# ---- in place


def _inplace(name: str, target: Tensor, numbers: tuple[Any, ...], generator: Any) -> Tensor:
    node = None
    if target._requires_grad:
        inplace.check_inplace(target)
        if mode.enabled:
            node = FillBackward0((edge(target),), (target._layout,))
    draw(name, target, numbers, generator)
    target._storage.version += 1
    if node is not None:
        inplace.rebase_history(target, node)
    return target


@method("uniform_")
@without_gradient
@takes("floating", "float8")
def uniform_(
    self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **options: float
) -> Tensor:
    """Write uniform numbers in [from, to)."""
    _check_floating("uniform_", self)
    low = options.pop("from", from_)
    return _inplace("uniform", self, (float(low), float(to)), generator)


@method("normal_")
@without_gradient
def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Write normal numbers."""
    _check_floating("normal_", self)
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    return _inplace("normal", self, (float(mean), float(std)), generator)


@method("exponential_")
@without_gradient
@takes("floating", "float8")
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Write numbers with density lambd * exp(-lambd * x)."""
    _check_floating("exponential_", self)
    return _inplace("exponential", self, (float(lambd),), generator)


@method("random_")
@without_gradient
@takes("floating", "integers", "bool")
def random_(
    self: Tensor, from_: int = 0, to: int | None = None, *, generator: Any = None
) -> Tensor:
    """Write whole numbers in [from, to); `random_(to)` starts at 0."""
    if to is None:
        limits = {1: 127, 2: 1 << 11, 4: 1 << 24, 8: 1 << 53}
        low, high = (0, from_) if from_ else (0, limits[self._layout.dtype.itemsize])
    else:
        low, high = from_, to
    return _inplace("randint", self, (int(low), int(high)), generator)


def _bernoulli_plan(key: tuple[Layout, Layout]) -> Any:
    out, p = key
    return kernels.bernoulli.plan(
        [p, int, int], [p.dtype, dtypes.int64, dtypes.int64], [out.dtype], out_layouts=[out]
    ).launch


_bernoullis = Plans(_bernoulli_plan)


def _check_probabilities(p: Tensor) -> None:
    """On the CPU, while nothing is recorded: it would be a wait for a GPU, and replays do not."""
    if p._layout.device.type == "cpu" and p._layout.numel and not recording.under_way():
        low, high = p.detach().aminmax()
        if not (low.item() >= 0 and high.item() <= 1):
            raise RuntimeError(
                f"bernoulli: expected 0 <= p <= 1, but found p from {low.item()} to {high.item()}."
            )


@method("bernoulli_")
@without_gradient
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Write 1 with probability p (a number or a tensor), else 0."""
    if isinstance(p, Tensor):
        where = (generator or default_generator).reserve(self._layout.numel)  # tells vmap: a draw
        _check_probabilities(p)
        _bernoullis[self._layout, p._layout](self._address, p._address, *where)
        self._storage.version += 1
        return self
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return _inplace("bernoulli", self, (float(p),), generator)


@method("bernoulli")
@writes
@without_gradient
@takes("floating", "integers", "bool")
def bernoulli(input: Tensor, p: float | None = None, *, generator: Any = None) -> Tensor:
    """1 with the probability that each element (or `p`) says, else 0."""
    result = empty(dense(input._layout, None, contiguous_format))
    return bernoulli_(result, input.detach() if p is None else p, generator=generator)


@method("multinomial")
@writes
@without_gradient
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> Tensor:
    """Indices drawn with probabilities in proportion to the last dimension.

    Source of the way without replacement: Efraimidis and Spirakis, Weighted random sampling, 2006.
    """
    from tritorch.ops.sorting import searchsorted, topk

    layout = input._layout
    if layout.ndim not in (1, 2):
        raise RuntimeError("multinomial: prob_dist must be 1 or 2 dim")
    if not replacement and num_samples > layout.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    if bool(((input < 0) | ~input.isfinite()).any()) or bool((input.sum(-1) <= 0).any()):
        raise RuntimeError(
            "multinomial: probability tensor contains either `inf`, `nan` or element < 0, or a row "
            "of zeros."
        )
    if not replacement:
        # The largest of p / e, e exponential, is drawn with probability p.
        noise = exponential_(empty(dense(layout)), generator=generator)
        return topk(input.detach() / noise, num_samples, -1)[1]
    sums = input.detach().cumsum(-1)
    shape = (*layout.shape[:-1], num_samples)
    draws = rand(*shape, dtype=layout.dtype, device=layout.device, generator=generator)
    return searchsorted(sums, draws * sums[..., -1:], right=True)


# ---- dropout


def _dropout_plan(layout: Layout) -> Any:
    kind = layout.dtype
    return kernels.dropout.plan(
        [layout, float, float, int, int],
        [kind, dtypes.float32, kind, dtypes.int64, dtypes.int64],
        [kind],
    )


_dropouts = Plans(_dropout_plan)


class DropoutBackward0(Node):
    """The same elements are dropped from the gradient: they are drawn again."""

    __slots__ = ("place", "probability")
    probability: float
    place: tuple[int, int]

    def apply(self, grads: Any) -> tuple[Any, ...]:
        """Dropout of the gradient with the same numbers."""
        whole = expand(grads[0], *self.output_layouts[0].shape)
        return (_dropped(whole, self.probability, self.place),)


def _dropped(input: Tensor, p: float, place: tuple[int, int]) -> Tensor:
    plan = _dropouts[input._layout]
    result = empty(plan.outputs[0])
    plan.launch(result._address, input._address, p, 1.0 / (1.0 - p), *place)
    if input._requires_grad and mode.enabled:
        node = DropoutBackward0((edge(input),), (result._layout,))
        node.probability, node.place = p, place
        result._grad_fn, result._requires_grad = node, True
    return result


@takes("floating", "float8")
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Elements dropped with probability p, the others divided by 1 - p; nothing if not training.

    Source: Srivastava et al., 2014.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    result = (
        input * 0
        if p == 1
        else _dropped(input, float(p), default_generator.reserve(input._layout.numel))
    )
    return input.copy_(result) if inplace else result
