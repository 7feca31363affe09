"""What a module saves and loads: its state_dict, extra state, and the hooks around both."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tritorch.autograd import no_grad
from tritorch.autograd.hooks import RemovableHandle
from tritorch.nn.modules.hooks import added
from tritorch.nn.parameter import Parameter, is_lazy
from tritorch.tensor import Tensor

_EXTRA = "_extra_state"


class _IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found to differ."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"_IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


class Stateful:
    """The part of `Module` that saves and loads."""

    #: of the layout of this class's state; written to the state_dict's `_metadata`
    _version: int = 1

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: OrderedDict[int, Any]
    _state_dict_pre_hooks: OrderedDict[int, Any]
    _load_state_dict_pre_hooks: OrderedDict[int, Any]
    _load_state_dict_post_hooks: OrderedDict[int, Any]

    # ---- saving
    def get_extra_state(self) -> Any:
        """Anything picklable to be kept in the state_dict; override it with `set_extra_state`."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called. Override "
            "it in your class."
        )

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave; override it."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called. Override "
            "it in your class."
        )

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        """Put this module's own state into `destination`, not its children's."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                destination[prefix + name] = parameter if keep_vars else parameter.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars else buffer.detach()
        if type(self).get_extra_state is not Stateful.get_extra_state:
            destination[prefix + _EXTRA] = self.get_extra_state()

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Dotted name -> tensor, of parameters and persistent buffers; shares their memory.

        Args:
            destination: a dictionary to add to; a new OrderedDict unless given.
            prefix: put before all names.
            keep_vars: the parameters themselves, with their history.
        """
        if args:  # by position, as it was in earlier versions
            named = {"destination": destination, "prefix": prefix, "keep_vars": keep_vars}
            named.update(zip(named, args))
            return self.state_dict(**named)
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks.values():
            changed = hook(self, destination, prefix, metadata)
            destination = destination if changed is None else changed
        result: dict[str, Any] = destination
        return result

    # ---- loading
    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take this module's own state, not its children's; what differs goes into the lists.

        Override it to read older layouts: `local_metadata["version"]` is that of the file. With
        `local_metadata["copies"]`, a list, copies are put there instead of being made.
        """
        for hook in self._load_state_dict_pre_hooks.values():
            hook(
                state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                error_msgs,
            )  # fmt: skip
        assign = local_metadata.get("assign_to_params_buffers", False)
        copies: list[Callable[[], Any]] = local_metadata.get("copies", [])
        own = {name: value for name, value in self._parameters.items() if value is not None}
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                own[name] = buffer  # type: ignore[assignment]
        for name, value in own.items():
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            given = state_dict[key]
            if not isinstance(given, Tensor):
                error_msgs.append(
                    f'While copying the parameter named "{key}", expected torch.Tensor or '
                    f"Tensor-like object from checkpoint but received {type(given)}"
                )
                continue
            if not is_lazy(value):
                if value.dim() == 0 and tuple(given.shape) == (1,):
                    given = given[0]  # as it was before there were tensors without dimensions
                if tuple(given.shape) != tuple(value.shape):
                    error_msgs.append(
                        f"size mismatch for {key}: copying a param with shape {given.shape} from "
                        f"checkpoint, the shape in current model is {value.shape}."
                    )
                    continue
            copies.append(_copy(self, name, value, given, assign))
        self._load_extra_state(state_dict, prefix, strict, missing_keys, unexpected_keys)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != prefix + _EXTRA:
                    first, *rest = key[len(prefix) :].split(".", 1)
                    if first not in (self._modules if rest else own):
                        unexpected_keys.append(key)
        if "copies" not in local_metadata:
            for make in copies:
                make()

    def _load_extra_state(
        self, state: dict[str, Any], prefix: str, strict: bool, missing: list[str],
        unexpected: list[str],
    ) -> None:  # fmt: skip
        key = prefix + _EXTRA
        wanted = type(self).set_extra_state is not Stateful.set_extra_state
        if wanted and key in state:
            self.set_extra_state(state[key])
        elif strict and wanted:
            missing.append(key)
        elif strict and key in state:
            unexpected.append(key)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy values into parameters and buffers by name; nothing is copied if anything differs.

        Args:
            state_dict: as returned by `state_dict`.
            strict: missing or unexpected names are an error.
            assign: take the given tensors themselves instead of copying into ours.
        Returns:
            `missing_keys` and `unexpected_keys`.
        Raises:
            RuntimeError: names (when strict) or shapes do not match; all are listed.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        problems: list[str] = []
        copies: list[Callable[[], Any]] = []
        metadata = getattr(state_dict, "_metadata", None) or {}

        def load(module: Any, state: dict[str, Any], prefix: str) -> None:
            local = {**metadata.get(prefix[:-1], {}), "copies": copies}
            if assign:
                local["assign_to_params_buffers"] = True
            module._load_from_state_dict(state, prefix, local, True, missing, unexpected, problems)
            for name, child in module._modules.items():
                if child is not None:
                    below = f"{prefix}{name}."
                    part = {k: v for k, v in state.items() if k.startswith(below)}
                    load(child, part, below)
            found = _IncompatibleKeys(missing, unexpected)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, found) is not None:
                    raise AssertionError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are not "
                        "expected to return new values, if incompatible_keys need to be modified, "
                        "it should be done inplace."
                    )

        load(self, OrderedDict(state_dict), "")
        if strict and unexpected:
            problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        if strict and missing:
            problems.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if problems:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t"
                + "\n\t".join(problems)
            )
        for make in copies:
            make()
        return _IncompatibleKeys(missing, unexpected)

    # ---- hooks
    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """`hook(module, prefix, keep_vars)` before `state_dict`."""
        return added(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """`hook(module, state_dict, prefix, local_metadata)` after `state_dict`."""
        return added(self._state_dict_hooks, hook)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        return self.register_state_dict_post_hook(hook)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        return added(self._load_state_dict_pre_hooks, LoadHook(hook, self if with_module else None))

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """`hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
        error_msgs)` before this module's state is taken; may rename keys of the state_dict.
        """
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """`hook(module, incompatible_keys)` after `load_state_dict`; may change the lists."""
        return added(self._load_state_dict_post_hooks, hook)


class LoadHook:
    """A hook before loading, with the module that it is called with, if any.

    A copy of the module has a hook on the copy, since it is copied along.
    """

    def __init__(self, hook: Callable[..., Any], module: Any) -> None:
        self.hook = hook
        self.module = module

    def __call__(self, *arguments: Any) -> None:
        if self.module is None:
            self.hook(*arguments)
        else:
            self.hook(self.module, *arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> LoadHook:
        return LoadHook(copy.deepcopy(self.hook, memo), memo.get(id(self.module), self.module))


def _copy(module: Any, name: str, own: Any, given: Tensor, assign: bool) -> Callable[[], None]:
    """What will take a given value when called."""

    def make() -> None:
        with no_grad():
            if not assign:
                own.copy_(given)
                return
            value = given
            if isinstance(own, Parameter):
                value = given if isinstance(given, Parameter) else Parameter(given)
                value.requires_grad_(own.requires_grad)
            setattr(module, name, value)

    return make
