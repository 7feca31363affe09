"""`tritorch.kernels.kernel`: a user's Triton function as a kernel that takes tensors and is tuned.

    @torch.kernels.kernel(space={"BLOCK": [256, 1024, 4096]}, key=["n"])
    @triton.jit
    def add(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr): ...

    add[lambda BLOCK, n, **_: (triton.cdiv(n, BLOCK),)](x, y, out, n)

What the space names need not be given: it is chosen as for the library's own kernels (lock file,
database, else the first kept candidate). `tritorch tune run mymodule:add` tunes it; for that it
needs `grid`, `example` and, so that wrong candidates are found out, `reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from tritorch import triton_api
from tritorch.errors import DeviceError
from tritorch.kernels.hints import hinted
from tritorch.kernels.plan import Launch
from tritorch.kernels.tuning import LAUNCH_OPTIONS, Tunable
from tritorch.layout import Layout

Grid = Sequence[int] | Callable[..., Sequence[int]]
_LIMIT = 4096


class _Bound:
    """A kernel for arguments of certain kinds: what was chosen, and a launch for each grid.

    `launch` makes one for the counts of a grid; `places` are those of the given arguments that it
    takes.
    """

    __slots__ = ("chosen", "launch", "launches", "places")

    def __init__(
        self,
        chosen: dict[str, Any],
        launch: Callable[[tuple[int, ...]], Launch],
        places: tuple[int, ...],
    ) -> None:
        self.chosen = chosen
        self.launch = launch
        self.places = places
        self.launches: dict[tuple[int, ...], Launch] = {}


class UserKernel:
    """A user's kernel; `kernel[grid](...)` launches it, `kernel(...)` with the grid it declares.

    Attributes:
        function: the `triton.JITFunction`.
        tunable: its tuning space and what was found in it.
        example: facts -> arguments to tune with.
        reference: arguments -> parameter name -> what must be in that tensor after a launch.
    """

    def __init__(
        self,
        function: Any,
        space: Mapping[str, Sequence[Any]],
        keep: Callable[..., bool],
        key: Iterable[str],
        grid: Grid | None,
        example: Callable[..., Mapping[str, Any]] | None,
        reference: Callable[..., Mapping[str, Any]] | None,
    ) -> None:
        if not hasattr(function, "arg_names"):
            raise TypeError(
                f"kernel: expected a @triton.jit function, got {type(function).__name__}. "
                "Put @triton.jit below @tritorch.kernels.kernel(...)."
            )
        self.function = function
        self.grid, self.example, self.reference = grid, example, reference
        self.__name__ = function.__name__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self.parameters = tuple(function.arg_names)
        self.keys = tuple(key)
        unknown = [
            name
            for name in (*space, *self.keys)
            if name not in self.parameters and name not in LAUNCH_OPTIONS
        ]
        if unknown:
            raise TypeError(
                f"{self.__name__}: has no parameters {', '.join(unknown)}; it has "
                f"{', '.join(self.parameters)}."
            )
        self.tunable = Tunable(
            f"{self.__module__}:{self.__name__}",
            space=space,
            default=self._first,
            keep=keep,
            key=(*self.keys, "dtypes"),
            digest=lambda: triton_api.source_digest(function),
            replaces=True,  # a notebook's cell is run again
        )
        self._bound: dict[Any, _Bound] = {}

    def __repr__(self) -> str:
        space = ", ".join(f"{name} of {list(v)}" for name, v in self.tunable.space.items())
        return f"<kernel {self.tunable.name}({', '.join(self.parameters)}); {space or 'fixed'}>"

    def _repr_html_(self) -> str:
        from tritorch.runtime.display import kernel_html, pairs

        facts = {
            "space": pairs({name: list(values) for name, values in self.tunable.space.items()}),
            "depends on": ", ".join(self.keys),
        }
        return kernel_html(self.tunable.name, facts, triton_api.source_text(self.function))

    def __getitem__(self, grid: Grid) -> Callable[..., None]:
        """A launch on a grid: up to three counts, or a function of the arguments by name."""
        return lambda *arguments, **named: self._launch(grid, arguments, named)

    def __call__(self, *arguments: Any, **named: Any) -> None:
        """Launch on the declared grid."""
        if self.grid is None:
            raise TypeError(
                f"{self.__name__}: declares no grid. Write {self.__name__}[grid](...), or give "
                "grid= to the decorator."
            )
        self._launch(self.grid, arguments, named)

    def forget(self) -> None:
        """Choose anew at the next launch."""
        self._bound.clear()

    def arguments(self, arguments: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Parameter -> argument, for those that are given.

        Raises:
            TypeError: too many, an unknown name, or one given twice.
        """
        if len(arguments) > len(self.parameters):
            raise TypeError(
                f"{self.__name__}: takes {len(self.parameters)} arguments, got {len(arguments)}."
            )
        given = dict(zip(self.parameters, arguments))
        for name, value in named.items():
            if name in given or (name not in self.parameters and name not in LAUNCH_OPTIONS):
                what = "is given twice" if name in given else "is no parameter"
                raise TypeError(f"{self.__name__}: {name} {what}.")
            given[name] = value
        return given

    def facts(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the choice depends on: the key's values (a tensor's is its dtype), all dtypes."""
        layouts = {n: v._layout for n, v in given.items() if hasattr(v, "_layout")}
        facts = {
            name: layouts[name].dtype.name if name in layouts else given.get(name)
            for name in self.keys
        }
        facts["dtypes"] = " ".join(layout.dtype.name for layout in layouts.values())
        return facts

    def _first(self, *, target: str, **facts: Any) -> dict[str, Any]:
        found = self.tunable.candidates(target, facts)
        if not found:
            raise ValueError(f"{self.__name__}: keep= refuses every candidate for {facts}.")
        return found[0]

    def _launch(self, grid: Grid, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
        given = self.arguments(arguments, named)
        values = list(given.values())
        # Numbers are arguments at run time, but a grid or a choice may depend on them.
        numbers = tuple([value for value in values if not hasattr(value, "_layout")])
        key = (tuple(given), tuple(map(_kind, values)), numbers)
        found = self._bound.get(key)
        if found is None:
            if len(self._bound) >= _LIMIT:
                self._bound.clear()
            found = self._bound[key] = self._bind(given)
        # A grid is asked each time: it may be a new function that reads what is outside of it.
        counts = tuple(grid(**{**found.chosen, **given}) if callable(grid) else grid)
        launch = found.launches.get(counts)
        if launch is None:
            if len(found.launches) >= _LIMIT:
                found.launches.clear()
            launch = found.launches[counts] = found.launch(counts)
        launch(*[getattr(v := values[i], "_address", v) for i in found.places])

    def _bind(self, given: dict[str, Any]) -> _Bound:
        from tritorch.runtime import get_target

        layouts = {n: v._layout for n, v in given.items() if hasattr(v, "_layout")}
        devices = {layout.device for layout in layouts.values()}
        if len(devices) != 1:
            raise DeviceError(
                f"{self.__name__}: expected tensors on one device, got "
                f"{', '.join(map(str, devices)) or 'no tensor'}."
            )
        (device,) = devices
        space = self.tunable.space
        missing = [name for name in self.parameters if name not in given and name not in space]
        if missing:
            raise TypeError(
                f"{self.__name__}: no value for {', '.join(missing)}. Give it, or name it in the "
                "decorator's space."
            )
        chosen = {}
        if any(name not in given for name in space):
            chosen = self.tunable.choose(device.type, **self.facts(given))
        everything = {**chosen, **given}
        constants = {
            name: everything[name]
            for name in self.parameters
            if name in everything and (name in self._constant_names or everything[name] is None)
        }
        signature = {
            name: _type(self.__name__, name, given[name])
            for name in self.parameters
            if name not in constants
        }
        options = {name: everything[name] for name in LAUNCH_OPTIONS if name in everything}
        if device.type == "cpu":
            options = {}
        target = get_target(device)
        numbers = [given[n] if isinstance(given[n], int) else None for n in signature]
        signature = hinted(device.type, signature, numbers)
        compiled = target.compile(self.function, signature, constants, options)
        order = {name: i for i, name in enumerate(given)}
        return _Bound(
            chosen,
            lambda counts: target.bind(compiled, counts, [None] * len(signature)),
            tuple(order[name] for name in signature),
        )

    @cached_property
    def _constant_names(self) -> frozenset[str]:
        return frozenset(p.name for p in self.function.params if p.is_constexpr)


def kernel(
    function: Any = None,
    *,
    space: Mapping[str, Sequence[Any]] | None = None,
    keep: Callable[..., bool] = lambda **_: True,
    key: Iterable[str] = (),
    grid: Grid | None = None,
    example: Callable[..., Mapping[str, Any]] | None = None,
    reference: Callable[..., Mapping[str, Any]] | None = None,
) -> Any:
    """Make a `@triton.jit` function a kernel that takes tensors, is tuned and cached.

    Args:
        space: `tl.constexpr` parameter or launch option -> values to try; the first that is kept is
            the default.
        keep: whether a candidate is possible; takes its values and the key's as keywords, so end
            it with `**_`.
        key: parameters on whose values (for tensors: dtypes) the best candidate depends.
        grid: counts of programs, or a function of all arguments by name; `kernel[grid]` overrides
            it.
        example: takes the key's integers as keywords and gives arguments to tune with, by name.
        reference: takes the arguments by name and gives, by name, what tensors must hold after a
            launch.
    Returns:
        a `UserKernel`.
    Raises:
        TypeError: no Triton function, or names that it has not.
    """

    def declare(function: Any) -> UserKernel:
        return UserKernel(function, space or {}, keep, key, grid, example, reference)

    return declare if function is None else declare(function)


def _kind(value: Any) -> Any:
    layout = getattr(value, "_layout", None)
    return type(value) if layout is None else (layout.dtype, layout.device)


def _type(kernel: str, name: str, value: Any) -> str:
    """Triton's type of an argument."""
    layout: Layout | None = getattr(value, "_layout", None)
    if layout is not None:
        return f"*{layout.dtype.triton}"
    if isinstance(value, bool):
        return "i1"
    if isinstance(value, int):
        return "i32" if -(2**31) <= value < 2**31 else "i64"
    if isinstance(value, float):
        return "fp32"
    raise TypeError(
        f"{kernel}: argument {name} is {type(value).__name__}; give a tensor, a number or None."
    )
