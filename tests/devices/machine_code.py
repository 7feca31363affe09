"""What a GPU's machine code promises: the share of the bandwidth that a kernel can reach, at most.

    python -m tests.devices.machine_code [PATTERN] [--json FILE]

plans the rows of `bench.gpu` that have a bar against the copy's bandwidth, compiles their kernels
and reads the machine code (`nvdisasm` of Triton's wheel). **Every figure is a prediction**: nothing
ran, no GPU was asked. A launch takes as long as the slowest of

- memory: bytes of the row over the bandwidth of a copy;
- issue: a multiprocessor issues four instructions a cycle;
- integers, floats, special, memory access: what its pipes take a cycle. Source of all of them: CUDA
  C++ Programming Guide, "Arithmetic Instructions", results per cycle and multiprocessor for
  capability 9.0 (float 128; integers, logic, comparisons 64; conversions of other widths and
  functions 16; loads and stores 32 lanes, 128 bytes a cycle of the first-level cache);
- waiting (Little's law): as many programs as fit side by side finish one after the other. How long
  one takes says a walk through its code: an instruction starts one cycle after the one before it at
  the soonest, and when its registers are there. Latencies: Jia et al., Dissecting the NVIDIA Volta
  GPU Architecture via Microbenchmarking (2018) and Dissecting the NVIDIA Hopper Architecture (Luo
  et al., 2024), rounded; of memory under load, an assumption.

What is left out: conflicts of banks, TLBs, the L2, clocks that fall. The assumptions are `GPU`'s
fields and the constants beside it. Loops: those of the widest accesses are taken to move the bytes
that the rest does not, in as many turns each; others to be edges that hardly run.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import triton

from bench.gpu_rows import ROWS, Row
from tests.devices.gpu_kernels import Needs, Planned, planned_launches, planning_gpu, with_binary
from tritorch import triton_api


@dataclass(frozen=True)
class GPU:
    """A multiprocessor's limits are in the programming guide's table of capabilities (9.0)."""

    name: str = "H200"
    multiprocessors: int = 132
    #: Hz under load, and bytes a second of a copy: assumptions
    clock: float = 1.7e9
    bandwidth: float = 4.3e12
    #: seconds from a load to its bytes while the memory is busy: an assumption
    latency: float = 700e-9
    warps: int = 64
    blocks: int = 32
    registers: int = 65_536
    shared_bytes: int = 228 << 10


H200 = GPU()
#: of a pipe's throughput that code in practice reaches; seconds between two kernels of a stream
ATTAINED, GAP = 0.85, 1e-6
#: results a cycle and multiprocessor, by pipe
_RATES = {
    "issue": 128.0,
    "integers": 64.0,
    "products": 64.0,
    "floats": 128.0,
    "special": 16.0,
    "access": 32.0,
}
_PIPES = {
    "floats": "FADD FMUL FFMA HADD2 HMUL2 HFMA2 HFMA FSWZADD",
    "integers": "IADD3 VIADD IADD LOP3 SHF LEA ISETP FSETP FMNMX VIMNMX IMNMX SEL FSEL PRMT IABS "
    "SGXT PLOP3 I2FP F2FP FCHK HSETP2 HMNMX2 VIADDMNMX VABSDIFF BMSK DADD DMUL DFMA DSETP",
    "products": "IMAD",
    "special": "MUFU F2F F2I I2F FRND POPC FLO BREV",
    "access": "LDG STG LDS STS LDSM STSM SHFL RED ATOM ATOMG ATOMS LDGSTS LD ST",
}
_PIPE = {name: pipe for pipe, names in _PIPES.items() for name in names.split()}
#: cycles until a result is there; of the others, 4
_LATENCY = {
    "MUFU": 20,
    "SHFL": 24,
    "LDS": 30,
    "LDSM": 33,
    "S2R": 20,
    "S2UR": 20,
    "LDC": 30,
    "BAR": 20,
    "F2F": 20,
    "I2F": 20,
    "F2I": 20,
    "CS2R": 10,
    "R2UR": 10,
    "DADD": 8,
    "DMUL": 8,
    "DFMA": 8,
}
_LINE = re.compile(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@(!?U?P\w+)\s+)?(\w+)([\w.]*)\s*([^;]*);")
_LABEL = re.compile(r"^(\.L_\w+):")
_REGISTER = re.compile(r"\b(UR|UP|R|P)(\d+)\b((?:\.\w+)*)")


@dataclass(frozen=True)
class Instruction:
    """One line of the assembly, such as `@!P0 LDG.E.128 R4, desc[UR4][R2.64]`."""

    guard: str
    operation: str
    details: str
    operands: str

    @property
    def moved(self) -> int:
        """Bytes of a warp's access to global memory; 0 of anything else."""
        if self.operation not in ("LDG", "STG", "LDGSTS"):
            return 0
        width = re.search(r"\.U?S?(8|16|32|64|128)\b", self.details.replace("LTC128B", ""))
        return 32 * (int(width[1]) if width else 32) // 8

    @property
    def writes(self) -> list[str]:
        first = self.operands.split(",")[: 2 if "SETP" in self.operation else 1]
        if self.operation in ("STG", "STS", "BAR", "BRA", "RED", "LDGSTS"):
            return []
        width = re.search(r"\.(64|128)\b", self.details)
        count = int(width[1]) // 32 if width and self.operation in ("LDG", "LDS", "LDC") else 1
        count = max(count, 2 * (".WIDE" in self.details), 4 * (self.operation == "LDSM"))
        found = _REGISTER.findall(",".join(first))
        return [f"{kind}{int(at) + k}" for kind, at, _ in found for k in range(count)]

    @property
    def reads(self) -> list[str]:
        stores = self.operation in ("STG", "STS", "RED", "LDGSTS")
        rest = self.operands if stores else self.operands.partition(",")[2]
        found = []
        for kind, at, suffix in _REGISTER.findall(f"{self.guard},{rest}"):
            width = 2 if ".64" in suffix else 1
            if stores and kind == "R" and ".128" in self.details and ".64" not in suffix:
                width = 4
            found += [f"{kind}{int(at) + k}" for k in range(width)]
        return found


@dataclass(frozen=True)
class Piece:
    """A stretch of code: a warp's bytes, results of the pipes, and how long one pass takes.

    Attributes:
        cycles: of one warp's pass, and `waits` of memory among them.
        in_flight: bytes that a warp has asked for at once, at most.
    """

    instructions: int
    read: int
    written: int
    widest: int
    pipes: Mapping[str, float]
    cycles: float
    waits: float
    in_flight: int

    @property
    def moved(self) -> int:
        return self.read + self.written


@dataclass(frozen=True)
class Code:
    """A kernel: what is done once, and the innermost loops that touch global memory."""

    once: Piece
    loops: tuple[Piece, ...]

    @property
    def main_loops(self) -> list[Piece]:
        widest = max((loop.widest for loop in self.loops), default=0)
        return [loop for loop in self.loops if loop.widest == widest]


def assembly(cubin: bytes) -> str:
    """The machine code of a cubin as text."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        found = subprocess.run([tool, "-c", file.name], capture_output=True, text=True, check=True)
    return found.stdout


def _parsed(text: str) -> tuple[list[Instruction], dict[str, int]]:
    """Instructions up to the last exit (beyond it are subroutines for rare cases), and labels."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(instructions)
        elif found := _LINE.match(line):
            instructions.append(Instruction(found[1] or "", found[2], found[3], found[4]))
    exits = [at for at, entry in enumerate(instructions) if entry.operation == "EXIT"]
    return instructions[: exits[-1] + 1], labels


def _target(entry: Instruction, labels: Mapping[str, int]) -> int | None:
    found = re.search(r"`\((\.L_\w+)\)", entry.operands) if entry.operation == "BRA" else None
    return None if found is None else labels[found[1]]


def _usual(
    instructions: Sequence[Instruction], labels: Mapping[str, int], places: Iterable[int]
) -> Iterator[int]:
    """The places without those that a branch leaves out to get round a call."""
    skip = -1
    for at in places:
        if at < skip:
            continue
        target = _target(instructions[at], labels)
        if target is not None and target > at:
            left_out = instructions[at + 1 : target]
            if left_out and any(entry.operation == "CALL" for entry in left_out):
                skip = target
        yield at


def _walk(passed: Sequence[Instruction], gpu: GPU, turns: int) -> tuple[float, float, int]:
    """Cycles of the last turn, those that waited for memory, and bytes in flight at most."""
    ready: dict[str, float] = {}
    loads: dict[str, tuple[int, int]] = {}  # register -> the load that fills it, and its bytes
    outstanding: dict[int, int] = {}
    clock = waits = begin = 0.0
    most = 0
    for turn in range(turns):
        begin, waits = clock, 0.0
        for at, entry in enumerate(passed):
            for register in entry.reads:
                if register in loads:
                    outstanding.pop(loads.pop(register)[0], None)
                    waits += max(ready[register] - clock - 1, 0)
                clock = max(clock, ready.get(register, 0.0) - 1)
            clock += 1
            latency: float = _LATENCY.get(entry.operation, 4)
            if entry.operation == "BAR":
                clock += latency
            if entry.operation == "LDG":
                latency = gpu.latency * gpu.clock
                outstanding[turn * len(passed) + at] = entry.moved
                most = max(most, sum(outstanding.values()))
            for register in entry.writes:
                loads.pop(register, None)
                ready[register] = clock + latency
                if entry.operation == "LDG":
                    loads[register] = (turn * len(passed) + at, entry.moved)
    return clock - begin, waits, most


def _piece(passed: Sequence[Instruction], gpu: GPU, turns: int) -> Piece:
    pipes: Counter[str] = Counter()
    for entry in passed:
        pipes["issue"] += 32 / _RATES["issue"]
        pipe = _PIPE.get(entry.operation)
        if pipe is not None:
            lanes = max(32.0, entry.moved / 128 * 32)
            pipes[pipe] += lanes / _RATES[pipe]
        if pipe == "products":  # half of the pipe of floats takes them
            pipes["floats"] += 32 / _RATES["floats"]
    cycles, waits, most = _walk(passed, gpu, turns)
    written = sum(entry.moved for entry in passed if entry.operation == "STG")
    moved = [entry.moved for entry in passed]
    return Piece(
        len(passed), sum(moved) - written, written, max(moved, default=0), dict(pipes), cycles,
        waits, most,
    )  # fmt: skip


def read_code(text: str, gpu: GPU = H200) -> Code:
    """The pieces of the only kernel in this assembly."""
    instructions, labels = _parsed(text)
    loops = []
    for at, entry in enumerate(instructions):
        target = _target(entry, labels)
        if target is not None and target < at:
            loops.append(range(target, at + 1))
    inner = [a for a in loops if not any(b != a and b[0] >= a[0] and b[-1] <= a[-1] for b in loops)]
    walked = [place for loop in inner for place in loop]
    moving = [
        [instructions[at] for at in _usual(instructions, labels, loop)]
        for loop in inner
        if any(instructions[at].moved for at in loop)
    ]
    rest = sorted(set(range(len(instructions))) - set(walked))
    once = [instructions[at] for at in _usual(instructions, labels, rest)]
    return Code(_piece(once, gpu, 1), tuple(_piece(passed, gpu, 2) for passed in moving))


@dataclass(frozen=True)
class Prediction:
    """Of one launch: seconds by limit, and what stands behind them."""

    kernel: str
    programs: int
    warps: int
    resident_warps: int
    registers: int
    turns: float
    instructions_per_16_bytes: float
    widest: int
    in_flight: int
    seconds: Mapping[str, float]

    @property
    def limit(self) -> str:
        return max(self.seconds, key=lambda name: self.seconds[name])

    @property
    def time(self) -> float:
        return max(self.seconds.values())


def predict(code: Code, needs: Needs, programs: int, moved: float, gpu: GPU = H200) -> Prediction:
    """How long a launch takes that moves so many bytes.

    Args:
        programs: of the grid.
        moved: bytes between the chip and its memory.
    """
    threads = needs.warps * 32
    registers = -(-needs.registers // 8) * 8 * threads
    side_by_side = min(
        gpu.warps // needs.warps, gpu.blocks, gpu.registers // registers,
        gpu.shared_bytes // (needs.shared_bytes + 1024),
    )  # fmt: skip
    each = min(side_by_side, -(-programs // gpu.multiprocessors))
    used = min(programs, gpu.multiprocessors)
    loops = code.main_loops
    in_turn = sum(loop.moved for loop in loops) * needs.warps
    rest = moved / programs - (code.once.moved * needs.warps if not in_turn else 0)
    turns = max(rest / in_turn, 1.0) if in_turn else 0.0
    cycles = code.once.cycles + turns * sum(loop.cycles for loop in loops)
    seconds = {"memory": moved / gpu.bandwidth}
    for pipe in _RATES:
        one = code.once.pipes.get(pipe, 0) + turns * sum(x.pipes.get(pipe, 0) for x in loops)
        seconds[pipe] = one * needs.warps * programs / used / gpu.clock / ATTAINED
    seconds["waiting"] = cycles / gpu.clock * max(programs / (used * each), 1.0)
    pieces = loops or [code.once]
    per_turn = sum(piece.moved for piece in pieces)
    return Prediction(
        "", programs, needs.warps, each * needs.warps, needs.registers, round(turns, 1),
        round(sum(x.instructions for x in pieces) * 32 * 16 / max(per_turn, 1), 1),
        max(piece.widest for piece in pieces) // 32,
        max(piece.in_flight for piece in pieces) * each * needs.warps, seconds,
    )  # fmt: skip


def predicted_row(row: Row, launches: Sequence[tuple[Planned, int, float]]) -> list[Prediction]:
    """Each launch of a row; one that is alone moves what the row says."""
    found = []
    for kernel, programs, moved in launches:
        needs, binary = with_binary(kernel, 90)
        code = read_code(assembly(binary))
        launch = predict(code, needs, programs, row.moved if len(launches) == 1 else moved)
        found.append(Prediction(**{**launch.__dict__, "kernel": kernel.name}))
    return found


def share(row: Row, launches: Sequence[Prediction], gpu: GPU = H200) -> float:
    """Of the copy's bandwidth; a row without kernels is a copy."""
    if not launches:
        return 1.0
    whole = sum(launch.time for launch in launches) + GAP * (len(launches) - 1)
    return row.moved / gpu.bandwidth / whole


_COLUMNS = (
    "row                            share  bar  kernel                        programs resident "
    "in flight  per 16 B  limits (share of the launch's bandwidth)"
)


def _lines(row: Row, launches: Sequence[Prediction]) -> Iterator[str]:
    reached = share(row, launches)
    head = f"{row.name:30} {reached:5.2f} {row.bar:4.2f}{' ' if reached >= row.bar else '!'}"
    for launch in launches or [None]:
        if launch is None:
            yield f"{head} (a copy by the driver)"
            continue
        memory = launch.seconds["memory"]
        limits = sorted(launch.seconds.items(), key=lambda item: -item[1])
        words = " ".join(
            f"{name} {memory / seconds:.2f}" for name, seconds in limits[:4] if seconds
        )
        yield (
            f"{head:42} {launch.kernel:30.30} {launch.programs:7} {launch.resident_warps:8} "
            f"{launch.in_flight >> 10:6} KiB {launch.instructions_per_16_bytes:8} "
            f" {launch.time * 1e6:6.1f} us: {words}"
        )
        head = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pattern", nargs="?", default="", help="of rows")
    parser.add_argument("--json", type=Path, help="where the predictions are kept")
    given = parser.parse_args()
    print(_COLUMNS)
    rows = []
    with planning_gpu(90) as planner:
        for row in ROWS:
            if not row.of_bandwidth or not re.search(given.pattern, row.name):
                continue
            launches = predicted_row(row, planned_launches(row, planner))
            print("\n".join(_lines(row, launches)), flush=True)
            rows.append(
                {
                    "row": row.name, "bar": row.bar, "share": round(share(row, launches), 2),
                    "launches": [
                        {**vars(x), "limit": x.limit,
                         "seconds": {k: float(f"{v:.3g}") for k, v in x.seconds.items()}}
                        for x in launches
                    ],
                }
            )  # fmt: skip
    if given.json is not None:
        head = {
            "what": "predictions from machine code: nothing was measured; a share of 1 says that "
            "no limit in the code is slower than the memory",
            "gpu": vars(H200), "attained": ATTAINED, "gap": GAP,
            "triton": triton_api.triton_version(),
        }  # fmt: skip
        lines = ",\n".join(json.dumps(entry) for entry in rows)
        given.json.write_text(json.dumps(head)[:-1] + f',\n"rows": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
