"""`@kernel`: a Python function in the Triton language becomes a `Template`, from which plans bind
launches.

The function is never called and never needs Triton: its text is what counts. Its module starts with
`from __future__ import annotations` and imports `triton.language as tl` under TYPE_CHECKING only.

Conventions for the parameters of a kernel:
- pointers first (`*_ptr`), outputs before inputs: the launch takes the dynamic values in this
  order;
- then dynamic scalars (learning rates, scales), then what a plan fixes (sizes, strides);
- a parameter with `stride` or `size` in its name that is 0 or 1 in a plan becomes a compile-time
  constant, so that a step of 1 is seen as a contiguous access and an absent dimension costs
  nothing;
- `name: tl.constexpr` are compile-time constants, in capitals.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any

from tritorch.devices import device as Device
from tritorch.dtypes import dtype as Dtype
from tritorch.kernel_source import KernelSource
from tritorch.kernels.hints import hinted
from tritorch.kernels.plan import Launch
from tritorch.kernels.strides import INT32_MAX, needs_int64
from tritorch.kernels.tuning import LAUNCH_OPTIONS, Tunable
from tritorch.layout import Layout

Choices = Mapping[str, Any]


class Helper:
    """A function that kernels call; its text is added to theirs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, *_args: Any, **_options: Any) -> Any:
        raise TypeError(
            f"{self.name}: a kernel helper exists inside kernels only; it has no host code."
        )

    @cached_property
    def text(self) -> str:
        return _jit_text(self.function)

    @cached_property
    def helpers(self) -> tuple[Helper, ...]:
        """The helpers it names, those that they name included, each before its users."""
        found: dict[str, Helper] = {}
        for name in self.function.__code__.co_names:
            value = self.function.__globals__.get(name)
            if isinstance(value, Helper):
                found.update({inner.name: inner for inner in value.helpers})
                found[value.name] = value
        return tuple(found.values())


class Template(Helper):
    """A hand-written kernel: its source, its declared constants, their defaults and tuning space.

    Attributes:
        parameters: all parameter names, in order.
        constants: those annotated `tl.constexpr`.
        tunable: its tuning space and what was found in it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        space: Mapping[str, Sequence[Any]],
        default: Callable[..., Choices] | Choices,
        keep: Callable[..., bool],
        derive: Callable[..., Choices] | None,
        key: Sequence[str],
    ) -> None:
        super().__init__(function)
        code = function.__code__
        self.parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        notes = function.__annotations__
        self.constants = tuple(n for n in self.parameters if notes.get(n) == "tl.constexpr")
        self._sources: dict[tuple[tuple[str, str], ...], KernelSource] = {}
        unknown = [n for n in space if n not in self.constants and n not in LAUNCH_OPTIONS]
        if unknown:
            raise TypeError(
                f"{self.name}: space names {unknown}, which are no constants of the kernel."
            )
        self.tunable = Tunable(
            self.name,
            space=space,
            default=default,
            keep=keep,
            derive=derive,
            key=key,
            digest=lambda: self.source.digest,
        )
        self.choose = self.tunable.choose

    @property
    def source(self) -> KernelSource:
        return self.specialised({})

    def specialised(self, pasted: Mapping[str, str]) -> KernelSource:
        """The source with the text of some helpers replaced: name -> a whole `def name(...)`.

        This is how a pointwise epilogue gets into a kernel that calls its helper `epilogue`.
        """
        key = tuple(sorted(pasted.items()))
        source = self._sources.get(key)
        if source is None:
            unknown = set(pasted) - {helper.name for helper in self.helpers}
            if unknown:
                raise TypeError(
                    f"{self.name}: calls no helpers named {', '.join(sorted(unknown))}."
                )
            parts = [
                _decorated(pasted[h.name].splitlines(True), h.name) if h.name in pasted else h.text
                for h in self.helpers
            ]
            source = KernelSource(self.name, "\n\n".join([*parts, self.text]))
            self._sources[key] = source
        return source

    def bind(
        self,
        device: Device,
        grid: Sequence[int],
        operands: Mapping[str, Layout | Dtype | str],
        values: Mapping[str, Any],
        *,
        scalars: Mapping[str, str] = MappingProxyType({}),
        pasted: Mapping[str, str] = MappingProxyType({}),
        otherwise: Launch | None = None,
    ) -> tuple[Launch, Any]:
        """Compile for these operands and bind everything that does not change between calls.

        Args:
            grid: up to three counts of programs.
            operands: pointer parameter -> layout (or dtype, or Triton type) behind it; dynamic.
            values: number of every other parameter, constants included. A pointer parameter given
                here as an
                int is an address that the plan owns (its type stands in `operands`).
            scalars: parameter -> Triton type ("fp32", "i64") of numbers that are dynamic (those not
                in
                values) or need this very type.
            pasted: helper name -> text that replaces it.
            otherwise: on a GPU, the launch for addresses that are no multiples of 16, where the
                same kernel without that promise would not do.
        Returns:
            the launch, which takes addresses and scalars in the kernel's order, and the compiled
            kernel.
        """
        from tritorch.runtime import get_target

        options = {name: values[name] for name in LAUNCH_OPTIONS if name in values}
        if options:
            values = {name: value for name, value in values.items() if name not in options}
        signature, constants, bound = self.arguments(operands, values, scalars)
        target = get_target(device)
        signature = hinted(device.type, signature, bound)
        compiled = target.compile(self.specialised(pasted), signature, constants, options)
        more: dict[str, Any] = {} if otherwise is None else {"otherwise": otherwise}
        return target.bind(compiled, tuple(grid), bound, **more), compiled

    def arguments(
        self,
        operands: Mapping[str, Layout | Dtype | str],
        values: Mapping[str, Any],
        scalars: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[dict[str, str], dict[str, Any], list[Any]]:
        """Signature, constants and bound values (None: dynamic) for a compile and a bind."""
        wide = needs_int64(o.extent for o in operands.values() if isinstance(o, Layout))
        signature: dict[str, str] = {}
        constants: dict[str, Any] = {}
        bound: list[Any] = []
        for name in self.parameters:
            if name in operands:
                signature[name] = _pointer(operands[name])
                bound.append(values.get(name))
            elif name in scalars:
                signature[name] = scalars[name]
                bound.append(values.get(name))
            elif name not in values:
                raise TypeError(f"{self.name}: parameter {name!r} has no value. Give it in values.")
            elif name in self.constants or _specialised(name, values[name]):
                constants[name] = values[name]
            else:
                signature[name] = _number_type(values[name], wide)
                bound.append(values[name])
        unknown = (set(operands) | set(values) | set(scalars)) - set(self.parameters)
        if unknown:
            raise TypeError(f"{self.name}: has no parameters {', '.join(sorted(unknown))}.")
        return signature, constants, bound


def kernel(
    *,
    space: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    default: Callable[..., Choices] | Choices = MappingProxyType({}),
    keep: Callable[..., bool] = lambda **_: True,
    derive: Callable[..., Choices] | None = None,
    key: Iterable[str] = (),
) -> Callable[[Callable[..., Any]], Template]:
    """Declare a kernel; see `Tunable` for the arguments."""

    def declare(function: Callable[..., Any]) -> Template:
        return Template(function, space, default, keep, derive, tuple(key))

    return declare


def helper(function: Callable[..., Any]) -> Helper:
    """Declare a function that kernels may call."""
    return Helper(function)


def _specialised(name: str, value: Any) -> bool:
    return value is None or (value in (0, 1) and ("stride" in name or "size" in name))


def _pointer(operand: Layout | Dtype | str) -> str:
    if isinstance(operand, str):
        return operand
    kind = operand.dtype if isinstance(operand, Layout) else operand
    return f"*{kind.triton}"


def _number_type(value: Any, wide: bool) -> str:
    if isinstance(value, bool):
        return "i1"
    if isinstance(value, float):
        return "fp32"
    return "i64" if wide or not -INT32_MAX - 1 <= value <= INT32_MAX else "i32"


def _jit_text(function: Callable[..., Any]) -> str:
    """The function's text from its file: parsing it would take longer than all else of a start."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    return _decorated(islice(lines, code.co_firstlineno - 1, None), function.__name__)


def _decorated(text: Iterable[str], name: str) -> str:
    """The text of the function `name` from its `def` on, under `@triton.jit`; the docstring is not
    part of the code.

    Args:
        text: lines, of which the first that are indented less than its body, or as its `def`, end
            the function.
    """
    lines = iter(text)
    head = [next((line for line in lines if line.lstrip().startswith(f"def {name}(")), "")]
    if not head[0]:
        raise TypeError(f"{name}: its text is not where it was. Start anew after changes.")
    outer = len(head[0]) - len(head[0].lstrip())
    depth = _opened(head[0])
    while depth:
        head.append(next(lines))
        depth += _opened(head[-1])
    body: list[str] = []
    quoted = False
    for line in lines:
        if not body and (quoted or line.lstrip().startswith('"""')):
            quoted = (line.count('"""') % 2 == 1) is not quoted
            continue
        if line.strip() and len(line) - len(line.lstrip()) <= outer:
            break
        body.append(line)
    whole = "".join([line[outer:] or line for line in (*head, *body)])
    return f"@triton.jit\n{whole.rstrip()}\n"


def _opened(line: str) -> int:
    """How many more brackets a line opens than it closes."""
    code = line.partition("#")[0]
    return sum(map(code.count, "([{")) - sum(map(code.count, ")]}"))
