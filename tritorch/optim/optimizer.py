"""`Optimizer`: parameter groups, state, saving; the base of every optimizer.

Source: the interface is that of torch.optim.Optimizer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import tritorch
from tritorch.tensor import Tensor


class Optimizer:
    """Base class: subclasses implement `_update(group, parameters)` for one group.

    Args:
        params: tensors, (name, tensor) pairs, or dictionaries with a `params` entry and options of
            their own.
        defaults: options of groups that do not set them.
    """

    #: numbers of the state, which PyTorch keeps and saves as tensors without dimensions
    _kept_numbers: tuple[str, ...] = ("step",)

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {type(params).__name__}. Put it in a list."
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        entries = list(params)
        if not entries:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(entries[0], dict):
            entries = [{"params": entries}]
        for entry in entries:
            self.add_param_group(entry)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add tensors to train, with options of their own.

        Raises:
            TypeError: an entry is not a Tensor.
            ValueError: an entry is not a leaf, is there already, or an option is missing.
        """
        group = dict(param_group)
        given = group["params"]
        tensors = [given] if isinstance(given, Tensor) else list(given)
        group["params"] = [entry[1] if isinstance(entry, tuple) else entry for entry in tensors]
        for tensor in group["params"]:
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is "
                    f"{type(tensor).__name__}"
                )
            if not tensor.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        own = {id(tensor) for tensor in group["params"]}
        if len(own) != len(group["params"]):
            raise ValueError("optimizer: a parameter group has a parameter twice.")
        if any(id(tensor) in own for other in self.param_groups for tensor in other["params"]):
            raise ValueError("some parameters appear in more than one parameter group")
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or with `set_to_none=False` fill them with zeros."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if set_to_none:
                    parameter.grad = None
                else:
                    parameter.grad.detach_()
                    parameter.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient.

        Args:
            closure: evaluates the model again, calls backward and returns the loss.
        Returns:
            what the closure returned, else None.
        """
        loss = None
        if closure is not None:
            with tritorch.enable_grad():
                loss = closure()
        with tritorch.no_grad():
            for group in self.param_groups:
                parameters = [p for p in group["params"] if p.grad is not None]
                if parameters:
                    self._update(group, parameters)
        return loss

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """`state` by parameter number and `param_groups` with numbers for tensors."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers.setdefault(id(parameter), len(numbers))
            packed = {name: value for name, value in group.items() if name != "params"}
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {
            numbers[id(p)]: {name: self._saved(name, value) for name, value in entry.items()}
            for p, entry in self.state.items()
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and state saved by `state_dict`; the tensors are copied.

        Raises:
            ValueError: the groups or their sizes differ; nothing is changed then.
        """
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError(
                "loaded state dict has a different number of parameter groups "
                f"({len(saved)} for {len(self.param_groups)})"
            )
        for own, other in zip(self.param_groups, saved):
            if len(own["params"]) != len(other["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of "
                    f"optimizer's group ({len(other['params'])} for {len(own['params'])})"
                )
        parameters: dict[int, Tensor] = {}
        for own, other in zip(self.param_groups, saved):
            parameters.update(zip(other["params"], own["params"]))
            own.update({k: deepcopy(v) for k, v in other.items() if k != "params"})
        self.state.clear()
        for number, entry in state_dict["state"].items():
            parameter = parameters[int(number)]
            self.state[parameter] = {
                name: self._adopted(name, value, parameter) for name, value in entry.items()
            }

    def _saved(self, name: str, value: Any) -> Any:
        if name in self._kept_numbers and not isinstance(value, Tensor):
            return tritorch.tensor(float(value), dtype=tritorch.float32)
        return value

    def _adopted(self, name: str, value: Any, parameter: Tensor) -> Any:
        if name in self._kept_numbers:
            return int(value) if name == "step" else float(value)
        if isinstance(value, Tensor):
            kind = parameter.dtype if parameter.is_floating_point() else value.dtype
            return value.detach().clone().to(device=parameter.device, dtype=kind)
        return deepcopy(value)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for index, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {index}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def check_option(name: str, value: float, low: float = 0.0, below: float | None = None) -> None:
    """ValueError unless `low <= value` (and `< below` where given)."""
    if not low <= value or (below is not None and not value < below):
        limits = f">= {low}" + ("" if below is None else f" and < {below}")
        raise ValueError(f"Invalid {name}: {value}. It must be {limits}.")


def refuse_differentiable(name: str, differentiable: bool) -> None:
    """NotImplementedError where an optimizer is asked for steps with history."""
    if differentiable:
        raise NotImplementedError(
            f"{name}: differentiable=True is not supported. Write the update with tensor "
            "operations to differentiate through it."
        )
