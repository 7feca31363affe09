"""Optimizers' steps that count by themselves: what depends on the step is computed by the kernel.

A `Schedule` says how the numbers of a step (`step`, running products) go on and which scalars its
`Update` gets then; the options are its arguments, in float64 as on the host, and the numbers are
read from memory. So a recorded launch does not repeat the scalars of its first step.

All programs of a tensor read its numbers, so none may write them before the others have read: each
adds 1 to the tensor's count of arrivals, and who finds that it is the last writes the numbers and
sets the count back. One launch does it all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tritorch.dtypes import dtype as Dtype
from tritorch.kernel_source import KernelSource
from tritorch.kernels.plan import Plan, nothing
from tritorch.kernels.templates import multi_tensor
from tritorch.kernels.templates.multi_tensor import BLOCK, CHUNK, TensorTable, Update
from tritorch.kernels.templates.rows import to_compute
from tritorch.kernels.templates.template import Helper, helper

if TYPE_CHECKING:
    import triton.language as tl

#: the option that may be in memory, where schedulers write it
_RATE = "learning_rate"


class Schedule(Helper):
    """How numbers go on, and the scalars that follow; see `schedule`."""

    def __init__(self, function: Callable[..., Any], numbers: int) -> None:
        super().__init__(function)
        parameters = list(inspect.signature(function).parameters)
        self.numbers = tuple(parameters[:numbers])
        self.scalars = tuple(p for p in parameters[numbers:] if not p.isupper())
        self.flags = tuple(p for p in parameters if p.isupper())
        self._sources: dict[Any, KernelSource] = {}

    def columns(self, update: Update) -> int:
        """How many columns a table has: the update's, the numbers', the arrivals'."""
        return len(update.columns) + len(self.numbers) + 1

    def source(self, update: Update, kinds: Sequence[Dtype], in_memory: bool) -> KernelSource:
        """The kernel of an update for columns of these dtypes."""
        key = update.name, tuple(kinds), in_memory
        if key not in self._sources:
            name = f"multi_{update.name}_scheduled"
            self._sources[key] = KernelSource(name, self._print(name, update, kinds, in_memory))
        return self._sources[key]

    def _print(self, name: str, update: Update, kinds: Sequence[Dtype], in_memory: bool) -> str:
        scalars = [f"{s}_ptr" if s == _RATE and in_memory else s for s in self.scalars]
        flags = dict.fromkeys((*self.flags, *update.flags))
        parameters = ["table_ptr", "chunks_ptr", *scalars]
        parameters += [f"{flag}: tl.constexpr" for flag in (*flags, "WIDE", "CHUNK", "BLOCK")]
        width = self.columns(update) + 1
        lines = [
            "@triton.jit",
            f"def {name}({', '.join(parameters)}):",
            *multi_tensor.chunk_lines(width),
        ]
        place = len(update.columns) + 1
        for number in self.numbers:
            pointer = "tl.pointer_type(tl.float32)"
            lines += [
                f"    {number}_ptr = tl.load(row_ptr + {place}).to({pointer})",
                f"    {number} = tl.load({number}_ptr).to(tl.float64)",
            ]
            place += 1
        lines.append(f"    arrivals_ptr = tl.load(row_ptr + {place}).to(tl.pointer_type(tl.int64))")
        if in_memory:
            lines.append(f"    {_RATE} = tl.load({_RATE}_ptr).to(tl.float64)")
        results = [*(f"next_{number}" for number in self.numbers), *update.scalars]
        arguments = ", ".join((*self.numbers, *self.scalars, *self.flags))
        lines.append(f"    {', '.join(results)} = {self.name}({arguments})")
        computes = multi_tensor.triton_name(kinds[0].compute)
        lines += [f"    {s} = {s}.to(tl.{computes})" for s in update.scalars]
        lines += [
            "    if WIDE:",
            "        tl.debug_barrier()",
            "    arrived = tl.atomic_add(arrivals_ptr, 1)",
            "    if (arrived + 1) * CHUNK >= tl.load(row_ptr):",
            *(f"        tl.store({n}_ptr, next_{n}.to(tl.float32))" for n in self.numbers),
            "        tl.store(arrivals_ptr, 0)",
            *update.loop_lines(kinds),
        ]
        found = dict.fromkeys((to_compute, *self.helpers, self, *update.helpers, update))
        return "\n\n".join([*(h.text for h in found), "\n".join(lines) + "\n"])

    def plan(
        self,
        update: Update,
        tensors: TensorTable,
        kinds: Sequence[Dtype],
        flags: Mapping[str, bool] = MappingProxyType({}),
        rate: Dtype | None = None,
    ) -> Plan:
        """launch(*tensors.addresses(), *scalars): one step of every tensor of the table.

        Args:
            update: what the scalars are for.
            kinds: dtypes of the update's columns.
            rate: dtype of the learning rate where its address is given, else None.
        The table has the columns that `columns` says; numbers are float32, arrivals int64.
        """
        if not len(kinds) == len(update.columns) == tensors.width - 2 - len(self.numbers):
            raise ValueError(
                f"{self.name}: {update.name} works on {len(update.columns)} columns and "
                f"{len(self.numbers)} numbers; got {len(kinds)} dtypes and a table of "
                f"{tensors.width - 1} columns."
            )
        if tensors.n_chunks == 0:
            return Plan((), nothing)
        from tritorch.runtime import get_target

        signature = {"table_ptr": "*i64", "chunks_ptr": "*i64"}
        for name in self.scalars:
            if name == _RATE and rate is not None:
                signature[f"{name}_ptr"] = f"*{rate.triton}"
            else:
                signature[name] = "fp64"
        names = dict.fromkeys((*self.flags, *update.flags))
        constants = {**{name: flags[name] for name in names}, "CHUNK": CHUNK, "BLOCK": BLOCK}
        constants["WIDE"] = tensors.device.type != "cpu"
        target = get_target(tensors.device)
        source = self.source(update, kinds, rate is not None)
        compiled = target.compile(source, signature, constants)
        dynamic: list[Any] = [None] * len(signature)
        return Plan((), target.bind(compiled, (tensors.n_chunks,), dynamic), [compiled])


def schedule(*, numbers: int = 1) -> Callable[[Callable[..., Any]], Schedule]:
    """Declare a schedule; its first `numbers` parameters are kept in memory, the next values of
    which it returns before the update's scalars.
    """

    def declare(function: Callable[..., Any]) -> Schedule:
        return Schedule(function, numbers)

    return declare


@helper
def power(base, exponent):
    """base ** exponent for base >= 0 and exponent > 0."""
    return tl.exp(exponent * tl.log(base))


@helper
def decay_of(learning_rate, weight_decay, DECOUPLED: tl.constexpr):
    """What the parameter is multiplied by, or what is added to the gradient."""
    decay = weight_decay
    if DECOUPLED:
        decay = 1.0 - learning_rate * weight_decay
    return decay


@schedule()
def adam_schedule(step, learning_rate, beta1, beta2, eps, weight_decay, DECOUPLED: tl.constexpr):
    """As `multi_tensor.adam_scalars`."""
    step += 1.0
    step_size = learning_rate / (1.0 - power(beta1, step))
    inverse_root2 = 1.0 / tl.sqrt(1.0 - power(beta2, step))
    decay = decay_of(learning_rate, weight_decay, DECOUPLED)
    return step, step_size, decay, 1.0 - beta1, beta2, 1.0 - beta2, inverse_root2, eps


@schedule()
def adamax_schedule(step, learning_rate, beta1, beta2, eps, weight_decay):
    """The mean starts at 0: its correction."""
    step += 1.0
    return step, learning_rate / (1.0 - power(beta1, step)), 1.0 - beta1, beta2, eps, weight_decay


@schedule(numbers=2)
def nadam_schedule(
    step, mu_product, learning_rate, beta1, beta2, eps, weight_decay, momentum_decay, shrink,
    DECOUPLED: tl.constexpr,
):  # fmt: skip
    """Momentum grows with the steps: beta1 * (1 - shrink ** (step * momentum_decay) / 2)."""
    step += 1.0
    momentum = beta1 * (1.0 - 0.5 * power(shrink, step * momentum_decay))
    following = beta1 * (1.0 - 0.5 * power(shrink, (step + 1.0) * momentum_decay))
    mu_product *= momentum
    gradient_size = learning_rate * (1.0 - momentum) / (1.0 - mu_product)
    mean_size = learning_rate * following / (1.0 - mu_product * following)
    inverse_root2 = 1.0 / tl.sqrt(1.0 - power(beta2, step))
    decay = decay_of(learning_rate, weight_decay, DECOUPLED)
    return (
        step, mu_product, gradient_size, mean_size, decay, 1.0 - beta1, beta2, 1.0 - beta2,
        inverse_root2, eps,
    )  # fmt: skip


@schedule()
def radam_schedule(step, learning_rate, beta1, beta2, eps, weight_decay, DECOUPLED: tl.constexpr):
    """The root counts from the step on that its variance is known."""
    step += 1.0
    remaining = power(beta2, step)
    correction = 1.0 - remaining
    longest = 2.0 / (1.0 - beta2) - 1.0
    length = longest - 2.0 * step * remaining / correction
    adapt = length > 5.0
    part = (length - 4.0) * (length - 2.0) * longest * correction
    part = tl.where(adapt, part / ((longest - 4.0) * (longest - 2.0) * length), 1.0)
    step_size = learning_rate / (1.0 - power(beta1, step)) * tl.sqrt(part)
    decay = decay_of(learning_rate, weight_decay, DECOUPLED)
    trusted = tl.where(adapt, step * 0.0 + 1.0, 0.0)
    return step, step_size, decay, 1.0 - beta1, beta2, 1.0 - beta2, eps, trusted


@schedule()
def rmsprop_schedule(step, learning_rate, alpha, eps, momentum, weight_decay):
    """Only the count goes on."""
    return step + 1.0, learning_rate, alpha, 1.0 - alpha, eps, momentum, weight_decay


@schedule()
def adadelta_schedule(step, learning_rate, rho, eps, weight_decay):
    """Only the count goes on."""
    return step + 1.0, learning_rate, rho, 1.0 - rho, eps, weight_decay


@schedule()
def rprop_schedule(step, eta_minus, eta_plus, smallest, largest):
    """Only the count goes on."""
    return step + 1.0, eta_minus, eta_plus, smallest, largest


@schedule(numbers=3)
def asgd_schedule(step, eta, mu, learning_rate, lambd, alpha, t0, weight_decay):
    """Rate and share of the next step: lr / (1 + lambd * lr * step) ** alpha, 1 / (step - t0)."""
    step += 1.0
    next_eta = learning_rate / power(1.0 + lambd * learning_rate * step, alpha)
    next_mu = 1.0 / tl.maximum(step - t0, 1.0)
    return step, next_eta, next_mu, eta, 1.0 - lambd * eta, mu, weight_decay
