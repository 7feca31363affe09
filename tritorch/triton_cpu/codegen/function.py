"""The module around the emitted bodies: the kernel's entry with its loop over programs, functions
it calls, helpers.
"""

from __future__ import annotations

from tritorch.errors import CompileError
from tritorch.triton_cpu.codegen import (
    amx,
    atomic_access,  # noqa: F401
    atomics,  # noqa: F401
    calls,  # noqa: F401
    control,  # noqa: F401  (each of these registers its lowerings)
    diagnostics,  # noqa: F401
    dot,  # noqa: F401
    lookups,  # noqa: F401
    mapped,  # noqa: F401
    scalars,  # noqa: F401
    scan,  # noqa: F401
)
from tritorch.triton_cpu.codegen.access_checks import TABLE, CheckedGenerator
from tritorch.triton_cpu.codegen.builder import LLVM_TYPE, Builder
from tritorch.triton_cpu.codegen.generator import Generator
from tritorch.triton_cpu.ir import Operation, Value
from tritorch.triton_cpu.target import CPUTarget

#: Bytes before the first argument slot: grid x, y, z and padding.
HEADER_BYTES = 16

_GRID = """\
  %grid_y = getelementptr i8, ptr %args, i64 4
  %grid_z = getelementptr i8, ptr %args, i64 8
  %programs0 = load i32, ptr %args, align 4
  %programs1 = load i32, ptr %grid_y, align 4
  %programs2 = load i32, ptr %grid_z, align 4
  %size_x = zext i32 %programs0 to i64
  %size_y = zext i32 %programs1 to i64
  %place_x = urem i64 %begin, %size_x
  %rest = udiv i64 %begin, %size_x
  %place_y = urem i64 %rest, %size_y
  %place_z = udiv i64 %rest, %size_y
  %first0 = trunc i64 %place_x to i32
  %first1 = trunc i64 %place_y to i32
  %first2 = trunc i64 %place_z to i32"""

_PROGRAM = """\
program:
  %linear = phi i64 [%begin, %start], [%linear_next, %return]
  %program0 = phi i32 [%first0, %start], [%next0, %return]
  %program1 = phi i32 [%first1, %start], [%next1, %return]
  %program2 = phi i32 [%first2, %start], [%next2, %return]
  br label %body"""

# The next program's ids by carrying, not by dividing: two 64-bit divisions cost as much as a short
# row.
_NEXT = """\
return:
  %linear_next = add nuw nsw i64 %linear, 1
  %more = icmp ult i64 %linear_next, %end
  %up0 = add i32 %program0, 1
  %over0 = icmp eq i32 %up0, %programs0
  %next0 = select i1 %over0, i32 0, i32 %up0
  %carry0 = zext i1 %over0 to i32
  %up1 = add i32 %program1, %carry0
  %over1 = icmp eq i32 %up1, %programs1
  %next1 = select i1 %over1, i32 0, i32 %up1
  %carry1 = zext i1 %over1 to i32
  %next2 = add i32 %program2, %carry1
  br i1 %more, label %program, label %finish"""


class Module:
    """What the functions of one LLVM module share."""

    def __init__(
        self, functions: list[Operation], target: CPUTarget, name: str, check_bounds: bool = False
    ) -> None:
        self.target = target
        self.check_bounds = check_bounds
        self.name = name
        self.helpers: dict[str, str] = {}
        self.declarations: set[str] = set()
        #: lines of the entry before the first program and after the last
        self.opening: list[str] = []
        self.closing: list[str] = []
        self._has_tiles = False
        #: tables of additions that wait, by the pointer argument that they go to
        self.tables: dict[Value, str] = {}
        self.functions = {str(f.attributes["sym_name"]): f for f in functions}

    def use_tiles(self) -> None:
        """Have the entry prepare the tile registers, and give them back at its end."""
        if not self._has_tiles:
            self._has_tiles = True
            around = Builder(helpers=self.helpers, declarations=self.declarations)
            self.opening.append(amx.open_tiles(around))
            self.closing.append(amx.close_tiles(around))

    def text(self) -> str:
        """The whole module as LLVM assembly text."""
        entry = next(iter(self.functions.values()))
        body = self._kernel(entry)
        width = self.target.vector_bytes * 8
        attributes = (
            f'attributes #0 = {{ nounwind "min-legal-vector-width"="{width}"'
            f' "prefer-vector-width"="{width}" }}'
        )
        parts = [body, *(self.helpers[key] for key in sorted(self.helpers))]
        parts += [*sorted(self.declarations), attributes]
        return "\n".join(parts) + "\n"

    def _kernel(self, entry: Operation) -> str:
        g = (CheckedGenerator if self.check_bounds else Generator)(self, entry, self.name)
        blocks = entry.regions[0]
        loads = []
        for number, argument in enumerate(blocks[0].arguments):
            offset = HEADER_BYTES + 8 * number
            loads.append(f"  %slot{number} = getelementptr i8, ptr %args, i64 {offset}")
            kind = LLVM_TYPE.get(argument.type.element)
            if kind is None:
                raise CompileError(
                    f"{self.name}: argument {number} has type {argument.type!r}, which the CPU"
                    " target cannot pass."
                )
            if kind == "i1":
                loads.append(f"  %byte{number} = load i8, ptr %slot{number}, align 8")
                loads.append(f"  %argument{number} = trunc i8 %byte{number} to i1")
            else:
                loads.append(f"  %argument{number} = load {kind}, ptr %slot{number}, align 8")
            g.scalars[argument] = f"%argument{number}"
        if self.check_bounds:
            offset = HEADER_BYTES + 8 * len(blocks[0].arguments)
            loads.append(f"  %slot_of_table = getelementptr i8, ptr %args, i64 {offset}")
            loads.append(f"  {TABLE} = load ptr, ptr %slot_of_table, align 8")
        g.lower_function(blocks)
        frame = g.scratch.frame(self.declarations)
        lines = [
            f"define void @{self.name}(ptr noalias readonly %args, i64 %begin, i64 %end) #0 {{",
            "entry:",
            *frame.allocas,
            "  %any = icmp ult i64 %begin, %end",
            "  br i1 %any, label %start, label %done",
            "start:",
            *frame.definitions,
            *loads,
            *self.opening,
            _GRID,
            "  br label %program",
            _PROGRAM,
            *g.builder.lines,
            _NEXT,
            "finish:",
            *self.closing,
            *frame.release,
            "  br label %done",
            "done:",
            "  ret void",
            "}",
        ]
        return "\n".join(lines)
