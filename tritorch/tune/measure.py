"""One kernel's workload in this process: candidates are forced, verified and timed on scratch.

Verified means: on fresh outputs whose memory was poisoned, twice, the results are the same bits and
as near to the reference as the default's, or as another order of the same sums may be. The
reference is the same operation in float64 by default configurations on the CPU (for integers and
float64: in their own type), or what a user's `reference=` says. Where a GPU's default differs from
run to run, as sums by atomic additions do, bits are not compared. A candidate that is to win also
runs ten times more, and on the CPU once with every access checked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import numpy as np

import tritorch as torch
from tritorch import dtypes
from tritorch.config import config
from tritorch.errors import TritorchError, TuneError
from tritorch.kernels import tuning
from tritorch.ops.dispatch import Plans
from tritorch.runtime import get_target
from tritorch.tensor import Tensor
from tritorch.tune import problems
from tritorch.tune.clocks import DeviceClock, sample, sets_of


class Wrong(TritorchError):
    """A candidate's results are not the reference's."""


class Measure:
    """A kernel on a workload of these sizes.

    Args:
        device: `cpu`, `cuda` or `cuda:1`.

    Attributes:
        facts: what the kernel's choice depends on here.
        default: the rule's configuration, as far as the space names it.
        candidates: the others that are possible.
    """

    def __init__(
        self, kernel: str, sizes: Mapping[str, Any], dtype: str | None, device: str = "cpu"
    ) -> None:
        problem = problems.find(kernel)
        self.sizes, kind = problems.complete(problem, sizes, dtype)
        self.kernel = kernel if ":" in kernel else problem.kernel
        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device.index or 0)
        self.target = get_target(self.device.type)
        self._clock = DeviceClock()
        self._active: dict[str, Any] | None = None
        self._user = problems.user_kernel(kernel) if ":" in kernel else None
        self._workload = problem.build(dtype=dtypes.BY_NAME[kind], **self.sizes)
        self._inputs = [x.to(self.device) for x in self._workload.inputs]
        self.tunable = self._user.tunable if self._user else tuning.TUNABLES[self.kernel]
        with config(tune="off"):
            self._forget()
            asked = problems.choice_of(self.kernel, self.device.type, self._run)
            if asked is None:
                raise TuneError(
                    f"tune: {self.kernel} is not what runs for sizes {self.sizes} and {kind} on "
                    f"{self.device.type}: another kernel is chosen there. Change the sizes."
                )
            self.facts, whole = asked
            self.default = {name: whole[name] for name in self.tunable.space if name in whole}
            self._expected, self._allowed = self._reference()
        self.candidates = [
            c for c in self.tunable.candidates(self.device.type, self.facts) if c != self.default
        ]

    # ---- running

    def _forget(self) -> None:
        """Let the operations make their plans anew."""
        for plans in Plans.every:
            plans.clear()
        if self._user:
            self._user.forget()

    def _force(self, candidate: Mapping[str, Any]) -> None:
        """Run with this configuration from now on; {} for the default."""
        if self._active != candidate:
            tuning.force({self.kernel: dict(candidate) or self.default})
            self._forget()
            self._ready = [self._prepared(fresh=i > 0) for i in range(self._sets())]
            self._active = dict(candidate)

    def _sets(self) -> int:
        """How many sets of inputs calls take in turn."""
        if self.device.type == "cpu":
            return 1
        facts = torch.cuda.get_device_properties()
        return sets_of(self._inputs, facts.L2_cache_size, torch.cuda.mem_get_info()[0])

    def _prepared(self, fresh: bool = False) -> Sequence[Any]:
        inputs = [x.clone() for x in self._inputs] if self._user or fresh else self._inputs
        prepare = self._workload.prepare
        return inputs if prepare is None else prepare(*inputs)

    def _run(self) -> list[np.ndarray]:
        """Results of a run on fresh copies."""
        return [_numbers(y) for y in self._workload.call(*self._prepared())]

    # ---- verifying

    def _reference(self) -> tuple[list[np.ndarray], list[float]]:
        """What is expected, and how far from it a result may be."""
        usual = self._run()
        self._repeats = self.device.type == "cpu" or all(
            np.array_equal(a, b, equal_nan=True) for a, b in zip(usual, self._run())
        )
        if self._user and self._user.reference is not None:
            expected = self._by_user()
        elif self._user:
            expected = usual
        else:
            expected = self._widely(usual)
        allowed = []
        for got, right in zip(usual, expected, strict=True):
            if got.dtype.kind != "f":
                allowed.append(0.0)
                continue
            scale = float(np.max(np.abs(right), initial=0.0))
            error = float(np.max(np.abs(got - right), initial=0.0))
            allowed.append(4 * error + self._rounding(right.size) * scale)
        return expected, allowed

    def _widely(self, usual: list[np.ndarray]) -> list[np.ndarray]:
        """The results in float64 on the CPU; `usual` where that is what ran."""
        workload = self._workload
        wide = [x.double() if x.dtype.is_floating_point else x for x in workload.inputs]
        if self.device.type == "cpu" and all(a is b for a, b in zip(wide, workload.inputs)):
            return usual
        prepared = workload.prepare(*wide) if workload.prepare else wide
        return [_numbers(y) for y in workload.call(*prepared)]

    def _rounding(self, elements: int) -> float:
        """What rounding alone may change, relative to the largest result: a few units in the last
        place, and as sums are computed in float32 at least, two of its units times the square root
        of their terms, in whatever order they are added."""
        epsilon = self._epsilon()
        terms = max(
            sum(x.numel() for x in self._workload.inputs) / max(elements, 1),
            self._workload.operations / 2 / max(elements, 1),
            1.0,
        )
        return 8 * epsilon + 2 * isqrt(int(terms)) * min(epsilon, torch.finfo(torch.float32).eps)

    def _epsilon(self) -> float:
        kinds = [x.dtype for x in self._workload.inputs if x.dtype.is_floating_point]
        return max((torch.finfo(kind).eps for kind in kinds), default=0.0)

    def _by_user(self) -> list[np.ndarray]:
        """What the user's reference says; tensors that it leaves out stay as they are."""
        assert self._user is not None and self._user.reference is not None
        assert self._user.example is not None
        given = {n: v for n, v in self.sizes.items() if v is not None}
        arguments = dict(self._user.example(**given))
        right = self._user.reference(**arguments)
        return [
            _numbers(right.get(name, value))
            for name, value in arguments.items()
            if isinstance(value, Tensor)
        ]

    def check(self, candidate: Mapping[str, Any], runs: int = 2) -> float:
        """Compile, run and compare; the seconds that the first run took.

        Raises:
            Wrong: the results differ from the reference, or between the runs.
            TritorchError: it does not compile or run.
        """
        start = time.perf_counter()
        self._force(candidate)
        self._poison()
        first = self._run()
        took = time.perf_counter() - start
        for i, (got, right, allowed) in enumerate(
            zip(first, self._expected, self._allowed, strict=True)
        ):
            self._compare(i, got, right, allowed)
        for _ in range(runs - 1 if self._repeats else 0):
            self._poison()
            for i, (once, again) in enumerate(zip(first, self._run(), strict=True)):
                if not np.array_equal(once, again, equal_nan=True):
                    raise Wrong(
                        f"{self.kernel}: two runs differ in output {i}: programs write the same "
                        "place."
                    )
        return took

    def scrutinise(self, candidate: Mapping[str, Any]) -> None:
        """Run ten times more, and on the CPU once with every access to memory checked.

        Raises:
            Wrong: the runs differ, or the candidate reads or writes beyond a tensor.
        """
        self.check(candidate, runs=10)
        if self.device.type == "cpu":
            said = self._beyond(candidate)
            # What is said of the default too is about memory that the check does not know.
            if said is not None and self._beyond({}) is None:
                raise Wrong(said)

    def _beyond(self, candidate: Mapping[str, Any]) -> str | None:
        """What a run with every access checked says; None for nothing."""
        try:
            with config(debug="bounds"):
                self._active = None
                self._force(candidate)
                self._run()
        except TritorchError as error:
            return str(error)
        finally:
            self._active = None
        return None

    def _compare(self, i: int, got: np.ndarray, right: np.ndarray, allowed: float) -> None:
        if got.shape != right.shape:
            raise Wrong(f"{self.kernel}: output {i} has shape {got.shape}, not {right.shape}.")
        if got.dtype.kind != "f":
            wrong = int((got != right).sum())
        else:
            wrong = int((~(np.abs(got - right) <= allowed)).sum())
        if wrong:
            raise Wrong(
                f"{self.kernel}: {wrong} of {got.size} elements of output {i} are not the "
                f"reference's (allowed difference {allowed:.3g})."
            )

    def _poison(self) -> None:
        """Fill the memory that outputs will get with what no result is."""
        held = []
        for right in self._expected:
            for kind in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
                nan = torch.full(right.shape, float("nan"), dtype=kind, device=self.device)
                held.append(nan)
            held.append(torch.full(right.shape, -77, dtype=torch.int8, device=self.device))
        del held

    # ---- timing

    def time(self, candidate: Mapping[str, Any]) -> float:
        """Seconds of a call: one sample."""
        self._force(candidate)
        if self.device.type == "cpu":
            return sample(self._workload.call, self._ready[0])
        return self._clock.sample(self._workload.call, self._ready)

    def describe(self) -> dict[str, Any]:
        """All that a session needs to know, as plain data."""
        return {
            "kernel": self.kernel,
            "digest": self.tunable.digest(),
            "target": self.target.identity,
            "facts": self.facts,
            "sizes": self.sizes,
            "default": self.default,
            "candidates": self.candidates,
            "moved": float(self._workload.moved),
            "operations": float(self._workload.operations),
        }


def _numbers(y: Any) -> np.ndarray:
    """A tensor's elements; floating ones as float64."""
    if isinstance(y, Tensor):
        y = y.detach().cpu()
        y = (y.double() if y.dtype.is_floating_point else y).numpy().copy()
    return np.asarray(y)
