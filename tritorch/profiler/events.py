"""What a profile holds: events with their times, averages of those of one name, a table of them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from typing import Any, NamedTuple


class Interval(NamedTuple):
    """Begin and end, in microseconds since the profile began."""

    start: float
    end: float

    def elapsed_us(self) -> float:
        """The length in microseconds."""
        return self.end - self.start


def duration(microseconds: float) -> str:
    """As PyTorch writes it: `12.345us`, `1.234ms`, `2.000s`."""
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:.3f}s"
    if microseconds >= 1e3:
        return f"{microseconds / 1e3:.3f}ms"
    return f"{microseconds:.3f}us"


def size(count: float) -> str:
    """`12 b`, `1.50 Kb`, `-3.00 Mb`."""
    for unit, bytes_ in (("Gb", 1 << 30), ("Mb", 1 << 20), ("Kb", 1 << 10)):
        if abs(count) >= bytes_:
            return f"{count / bytes_:.2f} {unit}"
    return f"{count:.0f} b"


class FunctionEvent:
    """One call. Times are in microseconds; "self" leaves out what was called from within.

    Attributes:
        name: of the operation, of the node of the backward pass, or the words of the user.
        kind: `operation`, `gradient` or `user_annotation`.
        thread: its identifier.
        time_range: when it began and ended.
        cpu_parent, cpu_children: the call it was part of, and those that were part of it.
        input_shapes, stack: of a profile that asked for them, else empty.
        device_time_total: what the GPU did for it.
        cpu_memory_usage: bytes of the CPU's memory in use after it, less those before.
    """

    count = 1

    def __init__(self, name: str, kind: str, thread: int, parent: FunctionEvent | None) -> None:
        self.name = name
        self.kind = kind
        self.thread = thread
        self.time_range = Interval(0.0, 0.0)
        self.cpu_parent = parent
        self.cpu_children: list[FunctionEvent] = []
        self.input_shapes: list[list[int]] = []
        self.stack: list[str] = []
        self.device_time_total = 0.0
        self.cpu_memory_usage = 0
        self.device_marks: Any = None  # begin and end on the GPU's stream, until the profile ends
        if parent is not None:
            parent.cpu_children.append(self)

    @property
    def key(self) -> str:
        """The name."""
        return self.name

    @property
    def is_user_annotation(self) -> bool:
        """Whether `record_function` made it."""
        return self.kind == "user_annotation"

    @property
    def cpu_time_total(self) -> float:
        """From its begin to its end."""
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self) -> float:
        """Without what it called."""
        return self.cpu_time_total - sum(c.cpu_time_total for c in self.cpu_children)

    @property
    def self_device_time_total(self) -> float:
        """The GPU's, without what it called."""
        return self.device_time_total - sum(c.device_time_total for c in self.cpu_children)

    @property
    def self_cpu_memory_usage(self) -> int:
        """Without what it called."""
        return self.cpu_memory_usage - sum(c.cpu_memory_usage for c in self.cpu_children)

    def __repr__(self) -> str:
        return f"<FunctionEvent {self.name} {duration(self.cpu_time_total)}>"


_SUMS = (
    "cpu_time_total", "self_cpu_time_total", "device_time_total", "self_device_time_total",
    "cpu_memory_usage", "self_cpu_memory_usage",
)  # fmt: skip


class FunctionEventAvg:
    """All calls of one name (and, if asked for, of one list of input shapes) together."""

    def __init__(self, first: FunctionEvent) -> None:
        self.key = first.name
        self.kind = first.kind
        self.input_shapes = first.input_shapes
        self.stack = first.stack
        self.count = 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.device_time_total = self.self_device_time_total = 0.0
        self.cpu_memory_usage = self.self_cpu_memory_usage = 0

    def add(self, event: FunctionEvent) -> FunctionEventAvg:
        """Count a call."""
        self.count += 1
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(event, name))
        return self

    @property
    def cpu_time(self) -> float:
        """Of one call, on average."""
        return self.cpu_time_total / self.count

    @property
    def device_time(self) -> float:
        """The GPU's of one call, on average."""
        return self.device_time_total / self.count

    def __repr__(self) -> str:
        return f"<FunctionEventAvg {self.key} {duration(self.cpu_time_total)} / {self.count}>"


#: what `sort_by` may say, and what it means
_SORTED = {
    "cpu_time": "cpu_time", "cpu_time_total": "cpu_time_total",
    "self_cpu_time_total": "self_cpu_time_total", "count": "count",
    "cpu_memory_usage": "cpu_memory_usage", "self_cpu_memory_usage": "self_cpu_memory_usage",
    "cuda_time": "device_time", "cuda_time_total": "device_time_total",
    "self_cuda_time_total": "self_device_time_total", "device_time": "device_time",
    "device_time_total": "device_time_total", "self_device_time_total": "self_device_time_total",
}  # fmt: skip


class EventList(list[Any]):
    """Events, or averages of events, in order.

    Args:
        events: its elements.
        with_memory, with_device: columns of its table.
        by_shape: whether averages are of one list of input shapes each.
    """

    def __init__(
        self,
        events: Iterable[Any] = (),
        *,
        with_memory: bool = False,
        with_device: bool = False,
        by_shape: bool = False,
    ) -> None:
        super().__init__(events)
        self._with_memory = with_memory
        self._with_device = with_device
        self._by_shape = by_shape

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0
    ) -> EventList:
        """Averages by name, and by input shapes and the innermost lines of the stack if asked."""
        found: dict[Any, FunctionEventAvg] = {}
        for event in self:
            shapes = repr(event.input_shapes) if group_by_input_shape else ""
            key = event.name, event.kind, shapes, tuple(event.stack[:group_by_stack_n])
            if key not in found:
                found[key] = FunctionEventAvg(event)
            found[key].add(event)
        return EventList(
            found.values(), with_memory=self._with_memory, with_device=self._with_device,
            by_shape=group_by_input_shape,
        )  # fmt: skip

    def total_average(self) -> FunctionEventAvg:
        """The sum of all."""
        if not self:
            raise ValueError("total_average: there are no events.")
        total = FunctionEventAvg(FunctionEvent("Total", "operation", 0, None))
        for event in self:
            total.count += event.count
            for name in _SUMS:
                setattr(total, name, getattr(total, name) + getattr(event, name))
        return total

    @property
    def self_cpu_time_total(self) -> float:
        """Of all events, in microseconds."""
        return float(sum(event.self_cpu_time_total for event in self))

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_name_column_width: int = 55,
        header: str | None = None,
        top_level_events_only: bool = False,
    ) -> str:
        """The rows as text, the largest first if `sort_by` names a column.

        Raises:
            ValueError: there is no such column.
        """
        if sort_by is not None and sort_by not in _SORTED:
            raise ValueError(
                f"table: cannot sort by {sort_by!r}. Choose one of {', '.join(_SORTED)}."
            )
        rows = list(self)
        if top_level_events_only:
            rows = [row for row in rows if getattr(row, "cpu_parent", None) is None]
        if sort_by is not None:
            rows.sort(key=lambda row: getattr(_average(row), _SORTED[sort_by]), reverse=True)
        whole = self.self_cpu_time_total
        heads = [
            "Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg",
        ]  # fmt: skip
        heads += ["CPU Mem", "Self CPU Mem"] * self._with_memory
        heads += ["Self CUDA", "CUDA total", "CUDA time avg"] * self._with_device
        heads += ["# of Calls"] + ["Input Shapes"] * self._by_shape
        lines = [heads]
        for row in map(_average, rows[: row_limit if row_limit >= 0 else None]):
            name = row.key
            if 0 < max_name_column_width < len(name):
                name = name[: max_name_column_width - 3] + "..."
            line = [
                name, _share(row.self_cpu_time_total, whole), duration(row.self_cpu_time_total),
                _share(row.cpu_time_total, whole), duration(row.cpu_time_total),
                duration(row.cpu_time),
            ]  # fmt: skip
            if self._with_memory:
                line += [size(row.cpu_memory_usage), size(row.self_cpu_memory_usage)]
            if self._with_device:
                line += map(
                    duration,
                    (row.self_device_time_total, row.device_time_total, row.device_time),
                )
            line.append(str(row.count))
            if self._by_shape:
                line.append(str(row.input_shapes))
            lines.append(line)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rule = "  ".join("-" * width for width in widths)
        text = [
            "  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        ends = [f"Self CPU time total: {duration(whole)}"]
        if self._with_device:
            device = sum(event.self_device_time_total for event in self)
            ends.append(f"Self CUDA time total: {duration(device)}")
        return "\n".join(
            [*([header] if header else []), rule, text[0], rule, *text[1:], rule, *ends, ""]
        )

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write events for chrome://tracing or Perfetto, as JSON; compressed if it ends in .gz."""
        process = os.getpid()
        events = [
            {
                "ph": "X", "cat": _CATEGORIES[event.kind], "name": event.name, "pid": process,
                "tid": event.thread, "ts": event.time_range.start, "dur": event.cpu_time_total,
                "args": {
                    **({"Input Dims": event.input_shapes} if event.input_shapes else {}),
                    **({"Call stack": event.stack} if event.stack else {}),
                    **({"Device us": event.device_time_total} if self._with_device else {}),
                },
            }
            for event in self
        ]  # fmt: skip
        whole = {"schemaVersion": 1, "displayTimeUnit": "ms", "traceEvents": events}
        data = json.dumps(whole).encode()
        with open(path, "wb") as file:
            file.write(gzip.compress(data) if os.fspath(path).endswith(".gz") else data)

    def __str__(self) -> str:
        return self.table()


_CATEGORIES = {
    "operation": "cpu_op", "gradient": "cpu_op", "user_annotation": "user_annotation",
}  # fmt: skip


def _average(row: Any) -> FunctionEventAvg:
    return row if isinstance(row, FunctionEventAvg) else FunctionEventAvg(row).add(row)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f}%" if whole else "0.00%"
