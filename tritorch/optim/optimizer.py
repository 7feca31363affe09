"""`Optimizer`: parameter groups, state, hooks, saving; the base of every optimizer.

Source: the interface is that of torch.optim.Optimizer.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import tritorch
from tritorch.autograd.hooks import RemovableHandle
from tritorch.optim.hooks import (
    Hook,
    Hooks,
    register,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
    with_hooks,
)
from tritorch.tensor import Tensor

__all__ = [
    "Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook",
    "required",
]  # fmt: skip

#: in `defaults`: every group has to say it
required: Any = type("_RequiredParameter", (), {"__repr__": lambda _: "<required parameter>"})()


class Optimizer:
    """Base class: subclasses implement `_update(group, parameters)` for one group, or `step`.

    Args:
        params: tensors, (name, tensor) pairs, or dictionaries with a `params` entry and options of
            their own.
        defaults: options of groups that do not set them; `required` for one that they must set.
    """

    #: numbers of the state, which PyTorch keeps and saves as tensors without dimensions
    _kept_numbers: tuple[str, ...] = ("step",)
    #: whether a graph may record a step without `capturable`: the host counts nothing for it
    _replayable = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        step = cls.__dict__.get("step")
        if step is not None and not getattr(step, "_calls_hooks", False):
            cls.step = with_hooks(step)  # type: ignore[method-assign]

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {type(params).__name__}. Put it in a list."
            )
        self.defaults = defaults
        self._make_hooks()
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        entries = list(params)
        if not entries:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(entries[0], dict):
            entries = [{"params": entries}]
        for entry in entries:
            self.add_param_group(entry)

    def _make_hooks(self) -> None:
        self._in_step = False
        self._step_pre_hooks: Hooks = OrderedDict()
        self._step_post_hooks: Hooks = OrderedDict()
        self._state_dict_pre_hooks: Hooks = OrderedDict()
        self._state_dict_post_hooks: Hooks = OrderedDict()
        self._load_state_dict_pre_hooks: Hooks = OrderedDict()
        self._load_state_dict_post_hooks: Hooks = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_step_pre_hooks" not in self.__dict__:
            self._make_hooks()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add tensors to train, with options of their own.

        Raises:
            TypeError: it is not a dictionary, its tensors have no order, or an entry is not a
                Tensor.
            ValueError: an entry is not a leaf, is there already, or has a name where others have
                none; an option is missing.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = dict(param_group)
        given = group["params"]
        if isinstance(given, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead."
            )
        entries = [given] if isinstance(given, Tensor) else list(given)
        names = [entry[0] for entry in entries if isinstance(entry, tuple)]
        group["params"] = [entry[1] if isinstance(entry, tuple) else entry for entry in entries]
        if names:
            if len(names) != len(entries):
                raise ValueError(
                    "all optimizer params should be with/without names. Some param names are "
                    "missing"
                )
            group["param_names"] = names
        for tensor in group["params"]:
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is "
                    f"{type(tensor).__name__}"
                )
            if not (self.defaults.get("differentiable") or tensor.is_leaf or tensor.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        self._check_new(group)
        for name, value in self.defaults.items():
            if value is required and name not in group:
                raise ValueError(
                    "parameter group didn't specify a value of required optimization parameter "
                    f"{name}"
                )
            group.setdefault(name, value)
        self.param_groups.append(group)

    def _check_new(self, group: dict[str, Any]) -> None:
        own = {id(tensor) for tensor in group["params"]}
        if len(own) != len(group["params"]):
            raise ValueError("optimizer: a parameter group has a parameter twice.")
        for other in self.param_groups:
            if any(id(tensor) in own for tensor in other["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
            if ("param_names" in group) != ("param_names" in other):
                kind = "with names" if "param_names" in group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param "
                    f"group {kind} to the optimizer"
                )

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
        differentiable = self.defaults.get("differentiable")
        with tritorch.enable_grad() if differentiable else tritorch.no_grad():
            for group in self.param_groups:
                parameters = [p for p in group["params"] if p.grad is not None]
                if parameters:
                    self._update(self._options(group), parameters)
        return loss

    def _options(self, group: dict[str, Any]) -> dict[str, Any]:
        """The group with numbers for options that are tensors (but where they are differentiated).

        Rates may be tensors of one element, as in PyTorch.
        """
        for value in group.values():
            kind = type(value)
            if kind in _PLAIN or (kind is tuple and _PLAIN.issuperset(map(type, value))):
                continue
            if _is_tensor(value) and not group.get("differentiable"):
                kept = ("params", "lr") if group.get("capturable") else ("params",)
                return {name: v if name in kept else _number(v) for name, v in group.items()}
        return group

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        raise NotImplementedError

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; a pair replaces both."""
        return register(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return register(self._step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return register(self._state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; a result replaces it."""
        return register(self._state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before `load_state_dict`; a result replaces it."""
        return register(self._load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer)` after `load_state_dict`."""
        return register(self._load_state_dict_post_hooks, hook, prepend)

    def state_dict(self) -> dict[str, Any]:
        """`state` by parameter number and `param_groups` with numbers for tensors."""
        for hook in self._state_dict_pre_hooks.values():
            hook(self)
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
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._state_dict_post_hooks.values():
            changed = hook(self, result)
            if changed is not None:
                result = changed
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and state saved by `state_dict`; the tensors are copied.

        Raises:
            ValueError: the groups or their sizes differ; nothing is changed then.
        """
        state_dict = state_dict.copy()
        for hook in self._load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
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
        for hook in self._load_state_dict_post_hooks.values():
            hook(self)

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
        if isinstance(value, (list, tuple)):
            return type(value)([self._adopted("", each, parameter) for each in value])
        return deepcopy(value)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for index, group in enumerate(self.param_groups):
            lines += ["", f"Parameter Group {index}"][not index :]
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


Optimizer.step = with_hooks(Optimizer.step)  # type: ignore[method-assign]


#: types of options that are no tensors; every step asks this of every option
_PLAIN = frozenset({bool, float, int, list, str, type(None)})


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (
        isinstance(value, tuple) and any(isinstance(each, Tensor) for each in value)
    )


def _number(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.item()
    return tuple(map(_number, value)) if isinstance(value, tuple) else value


def check_option(name: str, value: Any, low: float = 0.0, below: float | None = None) -> None:
    """ValueError unless `low <= value` (and `< below` where given), and is one number."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"Tensor {name} must be 1-element")
    if not low <= value or (below is not None and not value < below):
        limits = f">= {low}" + ("" if below is None else f" and < {below}")
        raise ValueError(f"Invalid {name}: {value}. It must be {limits}.")


def check_variants(
    differentiable: bool = False, foreach: bool | None = None, fused: bool | None = None
) -> None:
    """RuntimeError where ways to step are asked for that exclude each other in PyTorch."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
