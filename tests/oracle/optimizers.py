"""`python -m tests.oracle.optimizers`: trajectories, states and learning rates against PyTorch's.

Every optimizer with its options takes 20 steps on both libraries; then its state is carried across
half way, in both directions. Every scheduler gives the rates of 50 epochs.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np

#: largest difference, relative to the larger of 1 and the value
TOLERANCE = 1e-5
STEPS = 20
SHAPES = ((5, 4), (7,), (), (2, 3, 2))


def _product(**choices: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]


_BOTH = (False, True)
_ACCEPTED = [{"foreach": True}, {"foreach": False}]
OPTIMIZERS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        *_product(momentum=(0, 0.9), dampening=(0, 0.3), weight_decay=(0, 0.1), maximize=_BOTH),
        *_product(momentum=(0.9,), nesterov=(True,), weight_decay=(0, 0.1), maximize=_BOTH),
        *_ACCEPTED, {"fused": True}, {"differentiable": True},
    ],
    "Adam": [
        *_product(weight_decay=(0, 0.1), amsgrad=_BOTH, maximize=_BOTH,
                  decoupled_weight_decay=_BOTH),
        {"betas": (0.5, 0.9), "eps": 1e-3, "lr": 0.1}, {"capturable": True},
        *_ACCEPTED, {"fused": True}, {"differentiable": True},
    ],
    "AdamW": [
        *_product(weight_decay=(0, 0.1), amsgrad=_BOTH, maximize=_BOTH), {"capturable": True},
        *_ACCEPTED, {"fused": True}, {"differentiable": True, "amsgrad": True},
    ],
    "Adamax": [
        *_product(weight_decay=(0, 0.1), maximize=_BOTH), {"betas": (0.5, 0.9), "eps": 1e-3},
        *_ACCEPTED, {"capturable": True}, {"differentiable": True},
    ],
    "NAdam": [
        *_product(weight_decay=(0, 0.1), decoupled_weight_decay=_BOTH, maximize=_BOTH),
        {"momentum_decay": 0.1, "betas": (0.5, 0.9)},
        *_ACCEPTED, {"capturable": True}, {"differentiable": True},
    ],
    "RAdam": [
        *_product(weight_decay=(0, 0.1), decoupled_weight_decay=_BOTH, maximize=_BOTH),
        {"betas": (0.5, 0.9), "eps": 1e-3, "lr": 0.1},
        *_ACCEPTED, {"capturable": True}, {"differentiable": True},
    ],
    "Adagrad": [
        *_product(lr_decay=(0, 0.1), weight_decay=(0, 0.1), initial_accumulator_value=(0, 0.5),
                  maximize=_BOTH),
        {"eps": 1e-3, "lr": 0.1}, *_ACCEPTED, {"differentiable": True},
    ],
    "Adadelta": [
        *_product(rho=(0.9, 0.5), weight_decay=(0, 0.1), maximize=_BOTH), {"eps": 1e-3, "lr": 0.3},
        *_ACCEPTED, {"capturable": True}, {"differentiable": True},
    ],
    "RMSprop": [
        *_product(centered=_BOTH, momentum=(0, 0.9), weight_decay=(0, 0.1), maximize=_BOTH),
        {"alpha": 0.5, "eps": 1e-3}, *_ACCEPTED, {"capturable": True}, {"differentiable": True},
    ],
    "Rprop": [
        *_product(maximize=_BOTH, etas=((0.5, 1.2), (0.3, 1.5))), {"step_sizes": (1e-3, 0.05)},
        *_ACCEPTED, {"capturable": True}, {"differentiable": True},
    ],
    "ASGD": [
        *_product(t0=(0, 3, 1e6), weight_decay=(0, 0.1), maximize=_BOTH),
        {"lambd": 0.1, "alpha": 0.5, "lr": 0.1}, *_ACCEPTED, {"capturable": True},
        {"differentiable": True},
    ],
    "Adafactor": [
        *_product(weight_decay=(0, 0.1), maximize=_BOTH, lr=(1e-2, 0.3)),
        {"beta2_decay": -0.5, "eps": (1e-8, 1e-2), "d": 2.0}, *_ACCEPTED,
    ],
    "Muon": [
        *_product(nesterov=_BOTH, weight_decay=(0, 0.1),
                  adjust_lr_fn=(None, "original", "match_rms_adamw")),
        {"ns_steps": 3, "momentum": 0.5, "eps": 1e-3},
    ],
    "SparseAdam": [{}, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}, {"maximize": True}],
    "LBFGS": [
        {"lr": 0.1, "max_iter": 2}, {"lr": 0.1, "max_iter": 4, "history_size": 2},
        {"max_iter": 4, "line_search_fn": "strong_wolfe"},
        {"max_iter": 3, "max_eval": 5, "line_search_fn": "strong_wolfe", "tolerance_change": 1e-7},
    ],
}  # fmt: skip
#: options that PyTorch takes on GPUs only: compared with PyTorch's trajectory without them
GPU_ONLY = ("capturable",)

_SGD = ("SGD", {"lr": 0.4, "momentum": 0.9})
_ADAM = ("Adam", {"lr": 0.4})
#: scheduler -> expressions of `s` (torch.optim.lr_scheduler) and `o` (an optimizer)
SCHEDULERS = (
    "s.LambdaLR(o, lambda e: 0.95 ** e)",
    "s.LambdaLR(o, [lambda e: 1 / (e + 1), lambda e: e])",
    "s.MultiplicativeLR(o, lambda e: 0.97)",
    "s.StepLR(o, 7)",
    "s.StepLR(o, 3, gamma=0.5)",
    "s.MultiStepLR(o, [5, 5, 20, 40], gamma=0.3)",
    "s.ConstantLR(o)",
    "s.ConstantLR(o, factor=0.25, total_iters=11)",
    "s.LinearLR(o)",
    "s.LinearLR(o, start_factor=0.1, end_factor=0.6, total_iters=20)",
    "s.ExponentialLR(o, 0.9)",
    "s.CosineAnnealingLR(o, 15)",
    "s.CosineAnnealingLR(o, 50, eta_min=0.05)",
    "s.CosineAnnealingWarmRestarts(o, 7)",
    "s.CosineAnnealingWarmRestarts(o, 5, T_mult=2, eta_min=0.01)",
    "s.CyclicLR(o, 0.01, 0.3, step_size_up=6)",
    "s.CyclicLR(o, 0.01, 0.3, step_size_up=6, step_size_down=9, mode='triangular2')",
    "s.CyclicLR(o, 0.01, 0.3, step_size_up=4, mode='exp_range', gamma=0.95)",
    "s.CyclicLR(o, [0.01, 0.02], [0.3, 0.2], step_size_up=4, scale_fn=lambda x: 0.9 ** x)",
    "s.OneCycleLR(o, 0.5, total_steps=51)",
    "s.OneCycleLR(o, 0.5, epochs=17, steps_per_epoch=3, pct_start=0.4, anneal_strategy='linear')",
    "s.OneCycleLR(o, [0.5, 0.2], total_steps=60, three_phase=True, div_factor=10)",
    "s.PolynomialLR(o)",
    "s.PolynomialLR(o, total_iters=30, power=2.0)",
    "s.SequentialLR(o, [s.ConstantLR(o, 0.1, 5), s.ExponentialLR(o, 0.9)], milestones=[10])",
    "s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingLR(o, 20),"
    " s.StepLR(o, 4)], milestones=[5, 30])",
    "s.ChainedScheduler([s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.95)])",
    "s.ReduceLROnPlateau(o, patience=2)",
    "s.ReduceLROnPlateau(o, mode='max', factor=0.5, patience=1, threshold=0.01,"
    " threshold_mode='abs', cooldown=2, min_lr=0.02)",
    "w.SWALR(o, 0.05)",
    "w.SWALR(o, [0.05, 0.01], anneal_epochs=20, anneal_strategy='linear')",
)


def _values(shape: tuple[int, ...], start: int) -> np.ndarray:
    size = int(np.prod(shape))
    return np.sin(np.arange(start, start + size)).reshape(shape)


class Problem:
    """Tensors that approach goals of their own."""

    def __init__(self, torch: Any, name: str, options: dict[str, Any], kind: str) -> None:
        self.torch = torch
        shapes = [shape for shape in SHAPES if name != "Muon" or len(shape) == 2]
        dtype = getattr(torch, kind)
        self.sparse = name == "SparseAdam"
        self.parameters, self.goals = [], []
        for place, shape in enumerate(shapes if not self.sparse else SHAPES[:1]):
            start = torch.tensor(_values(shape, 3 * place), dtype=dtype)
            self.parameters.append(torch.nn.Parameter(start))
            self.goals.append(torch.tensor(1.5 * _values(shape, 3 * place + 1), dtype=dtype))
        self.sign = -1 if options.get("maximize") else 1
        used: Any = self.parameters
        if options.get("differentiable"):  # PyTorch steps with history: not on leaves
            self.parameters = used = [p.detach().clone() for p in self.parameters]
        self.optimizer = getattr(torch.optim, name)(used, **options)
        self.count = 0

    def closure(self) -> Any:
        """The loss, and gradients."""
        loss = 0
        self.optimizer.zero_grad()
        with self.torch.enable_grad():
            leaves = [p.detach().requires_grad_() for p in self.parameters]
            for p, goal in zip(leaves, self.goals):
                off = p - goal
                if self.sparse:
                    off = off[[self.count % 5, (self.count + 2) % 5]]
                loss = loss + (off**2).sum() + 0.1 * (off**4).sum()
            (loss * self.sign).backward()
        for p, leaf in zip(self.parameters, leaves):
            p.grad = leaf.grad
            if self.sparse and self.torch.__name__ == "torch":
                p.grad = leaf.grad.to_sparse(1)
        self.count += 1
        return loss.detach()

    def step(self, times: int) -> None:
        """So many steps."""
        for _ in range(times):
            self.optimizer.step(self.closure)
            self.parameters = [p.detach() if p.grad_fn else p for p in self.parameters]
            for group, tensors in zip(self.optimizer.param_groups, [self.parameters]):
                if group["params"][0].grad_fn is not None:
                    old = group["params"]
                    group["params"] = tensors
                    state = [self.optimizer.state.pop(p) for p in old]
                    for p, entry in zip(tensors, state):
                        self.optimizer.state[p] = {
                            k: v.detach() if hasattr(v, "detach") else v for k, v in entry.items()
                        }

    def result(self) -> list[np.ndarray]:
        """The parameters."""
        return [p.detach().numpy().astype(np.float64) for p in self.parameters]


def carried(value: Any, torch: Any) -> Any:
    """A state dictionary with its tensors made anew by another library."""
    if hasattr(value, "detach"):
        array = value.detach().numpy()
        return torch.tensor(array.copy(), dtype=getattr(torch, str(value.dtype).split(".")[-1]))
    if isinstance(value, dict):
        return {name: carried(each, torch) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(carried(each, torch) for each in value)
    return value


def worst(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The largest difference."""
    return max(
        float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1), initial=0))
        for a, b in zip(ours, theirs, strict=True)
    )


def _without_gpu(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in GPU_ONLY}


def trajectory(ours: Any, torch: Any, name: str, options: dict[str, Any], kind: str) -> str | None:
    """What differs after 20 steps; None if nothing does."""
    mine = Problem(ours, name, options, kind)
    other = Problem(torch, name, _without_gpu(options), kind)
    mine.step(STEPS)
    other.step(STEPS)
    difference = worst(mine.result(), other.result())
    return None if difference <= TOLERANCE else f"off by {difference:.2g}"


def states(ours: Any, torch: Any, name: str, options: dict[str, Any], kind: str) -> str | None:
    """What differs when each library goes on from the other's state after ten steps."""
    plain = _without_gpu(options)
    made = {library: Problem(library, name, plain, kind) for library in (ours, torch)}
    saved = {}
    for library, problem in made.items():
        problem.step(STEPS // 2)
        saved[library] = carried(problem.optimizer.state_dict(), library)  # steps write to them
    layouts = [
        {
            number: {key: _kind_of(value) for key, value in entry.items()}
            for number, entry in saved[library]["state"].items()
        }
        for library in (ours, torch)
    ]
    if layouts[0] != layouts[1]:
        return f"state {layouts[0]}, expected {layouts[1]}"
    names = [[sorted(group) for group in saved[library]["param_groups"]] for library in saved]
    if names[0] != names[1]:
        return f"groups have {names[0]}, expected {names[1]}"
    made[torch].step(STEPS // 2)
    expected = made[torch].result()
    for here, there in ((ours, torch), (torch, ours)):
        problem = Problem(here, name, plain, kind)
        problem.step(STEPS // 2)
        problem.optimizer.load_state_dict(carried(saved[there], here))
        problem.step(STEPS // 2)
        difference = worst(problem.result(), expected)
        if not difference <= TOLERANCE:
            return f"{here.__name__} from {there.__name__}'s state: off by {difference:.2g}"
    return None


def _kind_of(value: Any) -> Any:
    if hasattr(value, "detach"):
        return str(value.dtype), tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return [_kind_of(each) for each in value]
    return type(value).__name__


def rates(torch: Any, expression: str, optimizer: tuple[str, dict[str, Any]]) -> list[Any]:
    """The groups' rates (and momenta) in 50 epochs, the second half after saving and loading."""
    kind, options = optimizer
    tensors = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]

    def make() -> tuple[Any, Any]:
        groups = [{"params": [tensors[0]]}, {"params": [tensors[1]], "lr": 0.1}]
        o = getattr(torch.optim, kind)(groups, **options)
        names = {"o": o, "s": torch.optim.lr_scheduler, "w": torch.optim.swa_utils}
        return o, eval(expression, names)

    o, scheduler = make()
    found = []
    for epoch in range(50):
        if epoch == 25 and "lambda" not in expression:
            saved, kept = scheduler.state_dict(), o.state_dict()
            o, scheduler = make()
            o.load_state_dict(kept)
            scheduler.load_state_dict(saved)
        o.step()
        if "Plateau" in expression:
            scheduler.step(abs(25 - epoch) / 5 if epoch % 3 else 4.0)
        else:
            scheduler.step()
        found.append([(g["lr"], g.get("momentum", g.get("betas"))) for g in o.param_groups])
    return found


def schedule(ours: Any, torch: Any, expression: str, optimizer: Any) -> str | None:
    """What differs; None if nothing does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = rates(torch, expression, optimizer)
        mine = rates(ours, expression, optimizer)
    flat = [np.array([_flat(entry) for entry in one]) for one in (mine, theirs)]
    difference = float(np.max(np.abs(flat[0] - flat[1]) / np.maximum(np.abs(flat[1]), 1e-9)))
    return None if difference <= 1e-9 else f"off by {difference:.2g}"


def _flat(value: Any) -> list[float]:
    if isinstance(value, (list, tuple)):
        return [number for each in value for number in _flat(each)]
    return [float(value)]


def cases() -> list[tuple[str, Any]]:
    """(what is compared, the comparison given both libraries)."""
    found: list[tuple[str, Any]] = []
    for name, choices in OPTIMIZERS.items():
        for options in choices:
            for kind in ("float32", "float64"):
                found.append(
                    (
                        f"trajectory {name} {options} {kind}",
                        lambda a, b, n=name, o=options, k=kind: trajectory(a, b, n, o, k),
                    )
                )
            if not options.get("differentiable"):
                found.append(
                    (
                        f"state {name} {options}",
                        lambda a, b, n=name, o=options: states(a, b, n, o, "float32"),
                    )
                )
    for expression in SCHEDULERS:
        for optimizer in (_SGD, _ADAM):
            found.append(
                (
                    f"schedule {optimizer[0]} {expression}",
                    lambda a, b, e=expression, o=optimizer: schedule(a, b, e, o),
                )
            )
    return found


def main() -> None:
    """Print what differs, and how much does not."""
    import sys

    import torch

    import tritorch

    torch.set_num_threads(1)
    tried: dict[str, list[bool]] = {}
    for what, compare in cases():
        if sys.argv[1:] and not any(word in what for word in sys.argv[1:]):
            continue
        try:
            wrong = compare(tritorch, torch)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error!s:.200}"
        tried.setdefault(what.split()[0], []).append(wrong is None)
        if wrong:
            print(f"{what}: {wrong}", flush=True)
    for kind, results in tried.items():
        print(f"{kind}: {sum(results)} of {len(results)} agree")


if __name__ == "__main__":
    main()
