"""L-BFGS: the direction of Newton's method from the last few gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tritorch
from tritorch.optim.line_search import Point, strong_wolfe
from tritorch.optim.optimizer import Optimizer, check_option
from tritorch.tensor import Tensor


class LBFGS(Optimizer):
    """Limited-memory BFGS; a step is up to `max_iter` iterations, each calling the closure.

    Args:
        lr: step size, the first to try with a line search.
        max_iter: iterations of a step; max_eval: calls of the closure (max_iter * 5 / 4).
        tolerance_grad: done where no gradient is larger.
        tolerance_change: done where loss and parameters change less.
        history_size: how many gradients are remembered.
        line_search_fn: None or "strong_wolfe".
    Source: Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.5.
    """

    _kept_numbers = ()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_option("learning rate", lr)
        defaults = {
            "lr": lr, "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params: list[Tensor] = self.param_groups[0]["params"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    def _saved(self, name: str, value: Any) -> Any:
        """Numbers that PyTorch has as tensors; shares for as many directions as could be."""
        if name == "al":
            value = [*value, *[None] * (self.param_groups[0]["history_size"] - len(value))]
        if name in ("ro", "al"):
            return [self._saved("", each) for each in value]
        if isinstance(value, float) and name not in ("t", "prev_loss"):
            kind = self._params[0].dtype
            return tritorch.tensor(value, dtype=kind, device=self._params[0].device)
        return value

    def _gradient(self) -> Tensor:
        """All gradients in one vector."""
        return tritorch.cat(
            [(tritorch.zeros_like(p) if p.grad is None else p.grad).reshape(-1)
             for p in self._params]
        )  # fmt: skip

    def _move(self, step: float, direction: Tensor) -> None:
        parts = direction.split([p.numel() for p in self._params])
        for p, part in zip(self._params, parts, strict=True):
            p.add_(part.view(p.shape), alpha=step)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Minimise for up to `max_iter` iterations.

        Args:
            closure: evaluates the model, calls backward and returns the loss.
        Returns:
            the first loss.
        """
        if closure is None:
            raise TypeError("LBFGS.step: needs a closure that evaluates the model.")
        with tritorch.no_grad():
            return self._minimise(closure)

    def _minimise(self, closure: Callable[[], Any]) -> Any:
        def evaluate() -> Any:
            with tritorch.enable_grad():
                return closure()

        group = self._options(self.param_groups[0])
        search = group["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported, got {search!r}")
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = evaluate()
        loss, evaluations, iteration = float(first), 1, 0
        state["func_evals"] += 1
        gradient = self._gradient()
        if float(gradient.abs().max()) <= group["tolerance_grad"]:
            return first
        while iteration < group["max_iter"]:
            iteration += 1
            state["n_iter"] += 1
            direction = self._direction(state, gradient, group["history_size"])
            state["d"], state["prev_flat_grad"], previous = direction, gradient, loss
            state["prev_loss"] = loss
            rate = group["lr"]
            if state["n_iter"] == 1:
                rate *= min(1.0, 1.0 / float(gradient.abs().sum()))
            state["t"] = rate
            slope = float(gradient.dot(direction))
            if slope > -group["tolerance_change"]:
                break
            calls = 0
            if search is not None:
                start = Point(0.0, loss, gradient, slope)
                point, calls = self._search(evaluate, start, rate, direction)
                state["t"], loss, gradient = point.step, point.loss, point.gradient
                self._move(point.step, direction)
            else:
                self._move(rate, direction)
                if iteration != group["max_iter"]:
                    loss, calls = float(evaluate()), 1
                    gradient = self._gradient()
            evaluations += calls
            state["func_evals"] += calls
            if (
                evaluations >= group["max_eval"]
                or float(gradient.abs().max()) <= group["tolerance_grad"]
                or float(direction.abs().max()) * abs(state["t"]) <= group["tolerance_change"]
                or abs(loss - previous) < group["tolerance_change"]
            ):
                break
        return first

    def _direction(self, state: dict[str, Any], gradient: Tensor, history: int) -> Tensor:
        """Minus the inverse of the remembered Hessian times the gradient, after updating it."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return -gradient
        change = gradient - state["prev_flat_grad"]
        moved = state["d"] * float(state["t"])
        product = float(change.dot(moved))
        if product > 1e-10:
            for name, value in (("old_dirs", change), ("old_stps", moved), ("ro", 1 / product)):
                if len(state[name]) == history:
                    state[name].pop(0)
                state[name].append(value)
            state["H_diag"] = product / float(change.dot(change))
        changes, moves = state["old_dirs"], state["old_stps"]
        factors = [float(one) for one in state["ro"]]
        shares = [0.0] * len(factors)
        result = -gradient
        for i in reversed(range(len(factors))):
            shares[i] = float(moves[i].dot(result)) * factors[i]
            result.add_(changes[i], alpha=-shares[i])
        result.mul_(float(state["H_diag"]))
        for i in range(len(factors)):
            back = float(changes[i].dot(result)) * factors[i]
            result.add_(moves[i], alpha=shares[i] - back)
        state["al"] = shares
        return result

    def _search(
        self, evaluate: Callable[[], Any], start: Point, rate: float, direction: Tensor
    ) -> tuple[Point, int]:
        """The line search; leaves the parameters where they were."""
        kept = [p.clone() for p in self._params]

        def at(step: float) -> Point:
            self._move(step, direction)
            loss = float(evaluate())
            gradient = self._gradient()
            for p, before in zip(self._params, kept, strict=True):
                p.copy_(before)
            return Point(step, loss, gradient, float(gradient.dot(direction)))

        size = float(direction.abs().max())
        return strong_wolfe(at, start, rate, size)
