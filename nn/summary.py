"""`tritorch.summary`: what the layers of a model make, hold and launch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any

from tritorch.autograd.grad_mode import no_grad
from tritorch.nn.modules.module import Module
from tritorch.nn.parameter import is_lazy
from tritorch.runtime.statistics import Snapshot, snapshot
from tritorch.tensor import Tensor

Shape = tuple[int, ...]


@dataclass
class Layer:
    """A module of the model. All figures are its own, without those of the modules in it.

    Attributes:
        name: its path in the model, empty for the model itself. depth: modules around it.
        kind: its class.
        shapes: of the tensors that its last call gave; empty if it was not called.
        parameters: how many numbers it learns; shared ones count where they are seen first.
        nbytes: of its parameters and buffers. output_nbytes: of what its calls gave.
        calls: how often it was called.
        kernels: launches by kernel.
    """

    name: str
    kind: str
    depth: int
    parameters: int = 0
    nbytes: int = 0
    shapes: list[Shape] = field(default_factory=list)
    output_nbytes: int = 0
    calls: int = 0
    kernels: dict[str, int] = field(default_factory=dict)

    @property
    def launches(self) -> int:
        """How many kernels it launched."""
        return sum(self.kernels.values())

    def _cells(self) -> list[str]:
        own = self.name.rpartition(".")[2]
        label = f"{own}: {self.kind}" if own else self.kind
        return [
            "  " * self.depth + label,
            ", ".join(map(str, self.shapes)) or "not called",
            f"{self.parameters:,}" if self.parameters else "",
            _amount(self.nbytes),
            _amount(self.output_nbytes),
            f"{self.launches:,}" if self.launches else "",
        ]


@dataclass
class Summary:
    """The layers of a model, in the order of their definition; printed as a table."""

    layers: list[Layer]

    @property
    def parameters(self) -> int:
        """All numbers that the model learns."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters and buffers."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def launches(self) -> int:
        """Kernels that a call launches."""
        return sum(layer.launches for layer in self.layers)

    @property
    def kernels(self) -> dict[str, int]:
        """Launches of a call by kernel."""
        found: dict[str, int] = {}
        for layer in self.layers:
            for name, count in layer.kernels.items():
                found[name] = found.get(name, 0) + count
        return found

    def _totals(self) -> list[str]:
        outputs = sum(layer.output_nbytes for layer in self.layers)
        launches, kinds = f"{self.launches:,}", len(self.kernels)
        parts = [f"{self.parameters:,}", _amount(self.nbytes), _amount(outputs)]
        return ["in all", "", *parts, f"{launches} of {kinds} kinds"]

    def __str__(self) -> str:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, show_footer=True)
        for place, (heading, total) in enumerate(zip(_HEADINGS, self._totals(), strict=True)):
            side: Any = "left" if place < 2 else "right"
            table.add_column(heading, total, justify=side, no_wrap=True)
        for layer in self.layers:
            table.add_row(*layer._cells())
        console = Console(width=400, color_system=None)
        with console.capture() as captured:
            console.print(table)
        lines = [line.rstrip() for line in captured.get().splitlines()]
        return "\n".join(line for line in lines if line)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def row(cells: list[str], tag: str) -> str:
            sides = ["left", "left", *["right"] * 4]
            return "".join(
                f"<{tag} style='text-align:{side};white-space:pre'>{escape(cell)}</{tag}>"
                for side, cell in zip(sides, cells, strict=True)
            )

        head = f"<tr>{row(list(_HEADINGS), 'th')}</tr>"
        body = "".join(f"<tr>{row(layer._cells(), 'td')}</tr>" for layer in self.layers)
        return f"<table>{head}{body}<tr>{row(self._totals(), 'th')}</tr></table>"


_HEADINGS = ("layer", "output", "parameters", "bytes", "output bytes", "launches")


def _amount(count: int) -> str:
    """Bytes for people; empty for none."""
    if not count:
        return ""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def summary(model: Module, input: Any = None) -> Summary:
    """What each layer of a model makes, holds and launches.

    The model is called twice, without gradients and in evaluation mode, and is left as it was; the
    second call is the one that is counted, as the first may compile kernels and prepare tables.

    Args:
        model: any module.
        input: a tensor; a tuple or list of positional arguments; or a dictionary of named ones.
            None calls nothing: names and parameters only.
    Returns:
        a `Summary`: print it, show it in a notebook, or read its `layers`.
    Example:
        >>> import tritorch as torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
        >>> found = torch.summary(model, torch.ones(2, 4))
        >>> found.parameters, found.launches
        (40, 2)
    """
    call = _call(model, input)
    if call is not None:
        with _evaluating(model):
            call()
    layers = _layers(model)
    if call is not None:
        with _evaluating(model), _counting(model, layers):
            call()
    return Summary(list(layers.values()))


def _call(model: Module, input: Any) -> Callable[[], Any] | None:
    if input is None:
        return None
    if isinstance(input, Mapping):
        return lambda: model(**input)
    if isinstance(input, (tuple, list)):
        return lambda: model(*input)
    return lambda: model(input)


def _layers(model: Module) -> dict[Module, Layer]:
    layers: dict[Module, Layer] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        layer = Layer(name, type(module).__name__, name.count(".") + 1 if name else 0)
        for held in (module.parameters(recurse=False), module.buffers(recurse=False)):
            for tensor in held:
                if id(tensor) not in seen and not is_lazy(tensor):
                    seen.add(id(tensor))
                    layer.nbytes += tensor.nbytes
                    is_buffer = any(tensor is own for own in module._buffers.values())
                    layer.parameters += 0 if is_buffer else tensor.numel()
        layers[module] = layer
    return layers


@contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _counting(model: Module, layers: Mapping[Module, Layer]) -> Iterator[None]:
    """Hooks that note outputs, and give each launch to the innermost module that is running."""
    running: list[Layer] = []
    last: list[Snapshot] = []

    def settle() -> None:
        now = snapshot()
        if running:
            own = running[-1].kernels
            for name, count in (now - last[-1]).launches_by_kernel.items():
                own[name] = own.get(name, 0) + count
        last[:] = [snapshot()]

    def before(module: Module, args: Any) -> None:
        settle()
        running.append(layers[module])

    def after(module: Module, args: Any, output: Any) -> None:
        settle()
        layer = running.pop()
        layer.calls += 1
        tensors = list(_tensors(output))
        layer.shapes = [tuple(tensor.shape) for tensor in tensors]
        layer.output_nbytes += sum(tensor.nbytes for tensor in tensors)

    handles = []
    try:
        for module in layers:
            handles.append(module.register_forward_pre_hook(before))
            handles.append(module.register_forward_hook(after))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in what a module gives."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
