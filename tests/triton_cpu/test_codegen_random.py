"""Random programs against NumPy: loads, stores, reductions, branches and loops in any order.

A program's steps are drawn from a seed and written twice, as Triton source and as NumPy statements.
Values stay near 1, so differences of rounding stay small. Arrays are read and written at several
offsets: what shares a loop, what is stored in scratch, and what may be read late must not change
the result.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from tests.triton_cpu.plain_launcher import Launcher
from tests.triton_cpu.running import LEVELS, target_of
from tritorch.kernel_source import KernelSource
from tritorch.triton_cpu.compile import compile_kernel

#: sizes of the two dimensions; tensors are [N], or [N, M]
N, M = 256, 32
ARRAYS = 3
LENGTH = 3 * N * M


class Program:
    """Both texts of one random program."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.triton: list[str] = []
        self.numpy: list[str] = []
        self.indent = 0
        self.count = 0
        #: names of tensors by shape ("v" is [N], "m" is [N, M], "s" a scalar)
        self.known: dict[str, list[str]] = {"v": [], "m": [], "s": []}
        for shape in "vvm":
            self.load(shape)
        for _ in range(self.random.randint(5, 12)):
            self.step()
        for shape in "vm":
            self.store(shape)

    def both(self, triton: str, numpy: str | None = None) -> None:
        margin = "    " * (self.indent + 1)
        self.triton.append(margin + triton)
        self.numpy.append(margin + (triton.replace("tl.", "np.") if numpy is None else numpy))

    def name(self, shape: str) -> str:
        self.count += 1
        return f"{shape}{self.count}"

    def pick(self, shape: str) -> str:
        return self.random.choice(self.known[shape])

    def place(self, shape: str) -> tuple[str, str]:
        """An index expression in both languages, and a mask."""
        offset = self.random.choice([0, 0, 0, 1, 7, N])
        index = {"v": f"i + {offset}", "m": f"i[:, None] * {M} + j[None, :] + {offset}"}[shape]
        if shape == "v" and self.random.random() < 0.15:
            index = f"{N - 1} - i"
        if shape == "m" and self.random.random() < 0.15:
            index = f"j[None, :] * {N} + i[:, None]"
        return index, self.mask(shape)

    def mask(self, shape: str) -> str:
        limit = self.random.choice([0, 1, 17, N // 2, N])
        masks = {
            "v": [f"i < {limit}", "i >= n", "i < n", "(i >= 3) & (i < n)"],
            "m": ["(i[:, None] < n) & (j[None, :] < n)", "j[None, :] <= i[:, None]",
                  f"(i[:, None] >= 0) & (j[None, :] < {limit})"],
        }  # fmt: skip
        return self.random.choice(masks[shape])

    def load(self, shape: str) -> None:
        array, name = f"p{self.random.randrange(ARRAYS)}", self.name(shape)
        index, mask = self.place(shape)
        if self.random.random() < 0.5:
            self.both(f"{name} = tl.load({array} + {index})", f"{name} = {array}[{index}]")
        else:
            other = self.random.choice(["0.0", "0.5"])
            self.both(
                f"{name} = tl.load({array} + {index}, mask={mask}, other={other})",
                f"{name} = np.where({mask}, {array}[{index}], np.float32({other}))",
            )
        self.known[shape].append(name)

    def store(self, shape: str) -> None:
        array = f"p{self.random.randrange(ARRAYS)}"
        index, mask = self.place(shape)
        value = self.pick(shape)
        if self.random.random() < 0.5:
            self.both(f"tl.store({array} + {index}, {value})", f"{array}[{index}] = {value}")
        else:
            whole = {"v": "i < -1", "m": "(i[:, None] < -1) | (j[None, :] < -1)"}[shape]
            self.both(
                f"tl.store({array} + {index}, {value}, mask={mask})",
                f"store({array}, {index}, {value}, ({mask}) | ({whole}))",
            )

    def compute(self, shape: str) -> None:
        a, b, name = self.pick(shape), self.pick(shape), self.name(shape)
        forms = [
            f"{a} * 0.5 + {b} * 0.5",
            f"tl.exp(-tl.abs({a})) + 0.25",
            f"tl.maximum({a}, {b})",
            f"tl.where({self.mask(shape)}, {a}, {b} * 0.5)",
            f"{a} / (tl.abs({b}) + 1.0)",
        ]
        if shape == "m":
            v = self.pick("v")
            forms.append(f"{a} * 0.5 + {v}[:, None] * 0.25")
            forms.append(f"tl.minimum({a}, tl.exp(-tl.abs({v}))[:, None])")
            forms.append(f"tl.trans(tl.trans({a}) * 0.5) + {b} * 0.5")
            forms.append(f"{a} * 0.5 + tl.sum({b}, 0)[None, :] * 0.01")
            forms.append(f"tl.dot({a}, tl.dot(tl.trans({b}), {self.pick('m')})) * 0.0005")
        if self.known["s"]:
            forms.append(f"{a} * 0.5 + {self.pick('s')} * 0.01")
        self.both(f"{name} = {self.random.choice(forms)}")
        self.known[shape].append(name)

    def reduce(self) -> None:
        kind = self.random.choice(["sum", "max", "row", "scan"])
        if kind == "row":
            a, name = self.pick("m"), self.name("v")
            how = self.random.choice(["sum", "max"])
            self.both(f"{name} = tl.{how}({a}, 1) * 0.1")
            self.known["v"].append(name)
        elif kind == "scan":
            a, name = self.pick("v"), self.name("v")
            self.both(f"{name} = tl.cumsum({a}, 0) * 0.02")
            self.known["v"].append(name)
        else:
            a, name = self.pick("v"), self.name("s")
            self.both(f"{name} = tl.{kind}({a}, 0) * 0.05")
            self.known["s"].append(name)

    def branch(self) -> None:
        shape = self.random.choice("vm")
        name = self.name(shape)
        self.both(f"{name} = {self.pick(shape)} * 0.75")
        self.both(f"if n > {self.random.choice([5, N])}:")
        self.nested(shape, name)
        self.both("else:")
        self.nested(shape, name)
        self.known[shape].append(name)

    def loop(self) -> None:
        shape = self.random.choice("vm")
        name, other = self.name(shape), self.name(shape)
        self.both(f"{name} = {self.pick(shape)} + 0.0")
        self.both(f"{other} = {self.pick(shape)} * 0.5")
        self.both(f"for k{self.count} in range(0, {self.random.choice([0, 1, 3])}):")
        self.nested(shape, name)
        self.indent += 1
        self.both(f"{name}, {other} = {other}, {name} * 0.5 + {self.pick(shape)} * 0.25")
        self.indent -= 1
        self.known[shape] += [name, other]

    def nested(self, shape: str, target: str) -> None:
        """A few steps whose values end with the block; `target` takes the last one."""
        self.indent += 1
        saved = {key: list(names) for key, names in self.known.items()}
        for _ in range(self.random.randint(1, 3)):
            self.random.choice([self.compute, self.load, self.store])(shape)
        self.both(f"{target} = {self.known[shape][-1]} * 0.5 + {target} * 0.5")
        self.known = saved
        self.indent -= 1

    def step(self) -> None:
        chosen = self.random.choices(
            ["compute", "load", "store", "reduce", "branch", "loop"], [6, 4, 4, 3, 1, 1]
        )[0]
        if chosen in ("compute", "load", "store"):
            getattr(self, chosen)(self.random.choice("vvm"))
        else:
            getattr(self, chosen)()

    # ---- the texts
    def source(self) -> KernelSource:
        head = ["@triton.jit", "def program(p0, p1, p2, n):",
                f"    i = tl.arange(0, {N})", f"    j = tl.arange(0, {M})"]  # fmt: skip
        return KernelSource("program", "\n".join(head + self.triton) + "\n")

    def run_numpy(self, arrays: list[np.ndarray], n: int) -> None:
        head = ["def program(p0, p1, p2, n):", f"    i = np.arange({N})", f"    j = np.arange({M})"]
        scope: dict[str, Any] = {"np": np, "store": _masked_store}
        text = "\n".join(head + self.numpy).replace("np.trans(", "np.transpose(")
        exec(text, scope)
        scope["program"](*arrays, n)


def _masked_store(array: np.ndarray, index: Any, value: Any, mask: Any) -> None:
    index, value, mask = np.broadcast_arrays(index, value, mask)
    array[index[mask]] = value[mask]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(40))
def test_random_program(seed: int, level: str) -> None:
    program = Program(seed)
    signature = {**{f"p{k}": "*fp32" for k in range(ARRAYS)}, "n": "i32"}
    kernel = compile_kernel(program.source(), signature, {}, None, target_of(level))
    for n in (0, 20, N):
        rng = np.random.default_rng(seed)
        start = [rng.standard_normal(LENGTH).astype("f4") for _ in range(ARRAYS)]
        got, want = [a.copy() for a in start], [a.astype("f8") for a in start]
        Launcher(kernel)((1,), *got, n)
        program.run_numpy(want, n)
        for number, (mine, theirs) in enumerate(zip(got, want)):
            worst = int(np.abs(mine - theirs).argmax())
            assert abs(mine[worst] - theirs[worst]) < 1e-4 * (1 + abs(theirs[worst])), (
                f"seed {seed}, n {n}: p{number}[{worst}] is {mine[worst]}, not {theirs[worst]}\n"
                + program.source().text
            )
