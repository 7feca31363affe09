"""The inputs of the expressions: the same numbers for both libraries, in dtypes and layouts."""

from __future__ import annotations

import pickle
import zlib
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

INF, NAN = float("inf"), float("nan")


@dataclass(frozen=True)
class Variant:
    """How the floating-point inputs of an expression are made.

    `gradients`: 0 values alone, 1 backward too, 2 double backward too.
    """

    name: str
    dtype: str
    layout: str = "contiguous"
    gradients: int = 0
    edges: bool = False
    #: numbers are first rounded to this dtype
    rounded: str = ""


VARIANTS = (
    Variant("float64", "float64", gradients=2),
    Variant("float64 turned", "float64", "turned", gradients=2),
    Variant("float32 sliced", "float32", "sliced", gradients=1),
    Variant("float16", "float16"),
    Variant("bfloat16", "bfloat16"),
    Variant("int64", "int64"),
    Variant("edges", "float64", edges=True),
)


#: what the derived forms of an expression run with; `out=` takes no gradients
FORMS = (Variant("form", "float64", gradients=2), Variant("out", "float64"))


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _uniform(low: float, high: float, *shape: int) -> Any:
    return lambda random: random.uniform(low, high, shape)


def _definite(n: int, *batch: int) -> Any:
    def make(random: np.random.Generator) -> np.ndarray:
        a = random.uniform(-1, 1, (*batch, n, n))
        return a @ a.swapaxes(-1, -2) + n * np.eye(n)

    return make


#: floating-point inputs: made by a generator, in the variant's dtype and layout
FLOATS: dict[str, Any] = {
    "x": _uniform(-3, 3, 3, 4), "y": _uniform(-3, 3, 3, 4), "z": _uniform(-3, 3, 3, 4),
    "p": _uniform(0.2, 3, 3, 4), "u": _uniform(0.05, 0.95, 3, 4),
    "v": _uniform(-3, 3, 4), "w": _uniform(-3, 3, 4), "s": _uniform(-3, 3),
    "t": _uniform(-3, 3, 2, 3, 4), "e": _uniform(-3, 3, 0, 4),
    "a": _uniform(-3, 3, 3, 4), "b": _uniform(-3, 3, 4, 5), "c": _uniform(-3, 3, 3, 5),
    "f5": _uniform(-3, 3, 5), "y5": _uniform(-3, 3, 5, 4), "f12": _uniform(-3, 3, 12),
    "sq": _uniform(-2, 2, 4, 4), "pd": _definite(4, 2), "pd9": _definite(9),
    "img": _uniform(-3, 3, 2, 3, 8, 9), "vol": _uniform(-3, 3, 2, 3, 4, 5, 6),
    "w1": _uniform(-1, 1, 5, 3, 2), "w1g": _uniform(-1, 1, 3, 1, 3),
    "w1t": _uniform(-1, 1, 3, 2, 3),
    "w2": _uniform(-1, 1, 5, 3, 3, 3), "w2g": _uniform(-1, 1, 3, 1, 3, 3),
    "w2t": _uniform(-1, 1, 3, 2, 3, 3),
    "w3": _uniform(-1, 1, 2, 3, 2, 3, 2), "w3t": _uniform(-1, 1, 3, 2, 2, 3, 2),
    "bw": _uniform(-1, 1, 2, 4, 4), "ctc": _uniform(-2, 2, 6, 2, 4),
    "grid": _uniform(-1.2, 1.2, 2, 4, 5, 2), "far": _uniform(-1.8, 1.8, 2, 4, 5, 2),
    "theta": _uniform(-1, 1, 2, 2, 3),
    "theta3": _uniform(-1, 1, 2, 3, 4),
    "qq": _uniform(-2, 2, 2, 2, 5, 4), "kk": _uniform(-2, 2, 2, 2, 5, 4),
    "vv": _uniform(-2, 2, 2, 2, 5, 4), "am": _uniform(-1, 2, 5, 5),
}  # fmt: skip

#: the other inputs: the same in every variant
OTHERS: dict[str, Any] = {
    "n": lambda r: r.integers(-5, 6, (3, 4)),
    "q": lambda r: r.integers(1, 5, (3, 4)) * r.choice([-1, 1], (3, 4)),
    "k": lambda r: r.integers(0, 4, (3, 4)),
    "n5": lambda r: r.integers(-5, 6, (5, 4)),
    "i": lambda r: r.integers(0, 3, (3, 4)),
    "i2": lambda r: r.integers(0, 3, (2, 8, 9)),
    "ip": lambda r: np.stack([r.permutation(4) for _ in range(3)]),
    "j": lambda r: np.array([2, 0, 1, 2, 0]),
    "jp": lambda r: np.array([2, 0, 1]),
    "j3": lambda r: np.array([5, 0, 11]),
    "m": lambda r: np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool),
    "sv": lambda r: np.array([-2.0, -0.5, 0.25, 1.0, 2.5]),
    "sg": lambda r: r.choice([-1, 1], (3, 4)),
    "ml": lambda r: np.array([[3, 0, -1, 1], [1, -1, 0, 0], [0, 1, 2, -1]]),
    "fr2": lambda r: r.uniform(0, 1, (2, 3, 2)),
    "fr3": lambda r: r.uniform(0, 1, (2, 3, 3)),
    "tg": lambda r: np.array([[1, 2, 3], [2, 2, 1]]),
}


def host(name: str, variant: Variant) -> np.ndarray:
    """The numbers of an input: float64, int64 or bool."""
    if name in OTHERS:
        return np.asarray(OTHERS[name](_random(name)))
    values = np.asarray(FLOATS[name](_random(name)))
    if variant.dtype == "int64":
        return np.rint(values).astype(np.int64)
    if variant.edges and name in ("x", "y", "v", "t"):
        flat = values.reshape(-1)
        planted = [INF, -INF, NAN, 0.0, -0.0, 1e300, -1e-300]
        for place, value in enumerate(planted[: flat.size]):
            flat[(place * 5 + len(name)) % flat.size] = value
    return values


def tensor(torch: Any, name: str, variant: Variant) -> Any:
    """An input as a leaf tensor of a library."""
    values = host(name, variant)
    if variant.rounded and values.dtype == np.float64:
        values = torch.tensor(values).to(getattr(torch, variant.rounded)).double().numpy()
    if name in OTHERS:
        made = torch.tensor(values)
        return made.to(getattr(torch, variant.dtype)) if values.dtype == np.float64 else made
    dtype = getattr(torch, variant.dtype)
    if variant.layout == "turned" and values.ndim > 1:
        order = tuple(reversed(range(values.ndim)))
        made = torch.tensor(np.ascontiguousarray(values.transpose(order))).to(dtype).permute(order)
    elif variant.layout == "sliced" and values.ndim:
        wide = np.zeros([2 * extent + 1 for extent in values.shape])
        steps = tuple(slice(1, 2 * extent + 1, 2) for extent in values.shape)
        wide[steps] = values
        made = torch.tensor(wide).to(dtype)[steps]
    else:
        made = torch.tensor(values).to(dtype)
    return made.requires_grad_() if variant.gradients else made


def namespace(torch: Any, names: set[str], variant: Variant) -> dict[str, Any]:
    """What an expression sees: the library and the inputs that it names."""

    def put(x: Any, index: Any, value: Any) -> Any:
        x = x.clone()
        x[index] = value
        return x

    def out(function: Any, *arguments: Any, **options: Any) -> Any:
        """What is written to `out=`, which begins empty and of the right dtype."""
        result = function(*arguments, **options)
        single = not isinstance(result, tuple)
        targets = [torch.empty(0, dtype=r.dtype) for r in ([result] if single else result)]
        function(*arguments, **options, out=targets[0] if single else tuple(targets))
        return targets[0] if single else targets

    def same(function: Any) -> Any:
        """The result of something random, if the same seed gives the same."""
        torch.manual_seed(5)
        first = function()
        torch.manual_seed(5)
        assert torch.equal(first, function())
        return first

    def near(value: Any, expected: float, by: float) -> bool:
        return abs(float(value) - expected) < by

    made: dict[str, Any] = {"torch": torch, "F": torch.nn.functional, "inf": INF, "nan": NAN}

    def message(function: Any) -> str:
        """The first words of the error."""
        try:
            function()
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:50]}"
        return "no error"

    made |= {"message": message, "deepcopy": deepcopy}
    made["pickled"] = lambda value: pickle.loads(pickle.dumps(value))
    made |= {"out": out, "same": same, "near": near, "np": np}
    made |= {"set": put, "sym": lambda a: (a + a.mT) / 2}
    made["array"] = np.arange(12, dtype=np.float32).reshape(3, 4)
    for name in sorted(names):
        if name in FLOATS or name in OTHERS:
            made[name] = tensor(torch, name, variant)
    if "cx" in names:
        made["cx"] = torch.tensor(host("x", variant)).to(getattr(torch, variant.dtype))
    return made
