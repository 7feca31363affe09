"""The reference: expression trees evaluated by NumPy (in float64 for floats), and Philox in NumPy.

Every primitive's row carries its NumPy spelling, so a function needs no second definition for the
tests.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import integrate, special

from tritorch.kernels.expression import PRIMITIVES, Expr, topological


def evaluate(
    roots: Sequence[Expr], inputs: Mapping[str, Any], index: Any = None
) -> list[np.ndarray]:
    """Values of the trees for inputs by name; `index` is what `index()` stands for."""
    values: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for node in topological(roots):
            arguments = [values[id(a)] for a in node.args]
            values[id(node)] = _value(node, arguments, inputs, index)
    return [np.asarray(values[id(root)]) for root in roots]


def _value(node: Expr, arguments: list[Any], inputs: Mapping[str, Any], index: Any) -> Any:
    if node.op == "input":
        return np.asarray(inputs[node.value])
    if node.op == "constant":
        return node.value
    if node.op in ("index", "diagonal"):
        return index
    if node.op == "cast":
        return np.asarray(arguments[0]).astype(node.value.numpy)
    spelling = PRIMITIVES[node.op].numpy
    names = {f"x{i}": value for i, value in enumerate(arguments)}
    text = spelling.format(*(f"({name})" for name in names))
    known = {"np": np, "special": special, "reference": sys.modules[__name__]}
    return eval(text, known, names)


def philox(seed: int, position: Any) -> list[np.ndarray]:
    """The four 32-bit words of Philox-4x32-10 for a 64-bit key and 64-bit positions, as uint64."""
    mask = np.uint64(0xFFFFFFFF)
    position = np.asarray(position, np.int64).astype(np.uint64)
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64((seed >> 32) & 0xFFFFFFFF)]
    zero = np.zeros_like(position)
    words = [position & mask, position >> np.uint64(32), zero, zero]
    with np.errstate(over="ignore"):
        for _ in range(10):
            first = words[0] * np.uint64(0xD2511F53)
            second = words[2] * np.uint64(0xCD9E8D57)
            words = [
                (second >> np.uint64(32)) ^ words[1] ^ key[0],
                second & mask,
                (first >> np.uint64(32)) ^ words[3] ^ key[1],
                first & mask,
            ]
            key[0] = (key[0] + np.uint64(0x9E3779B9)) & mask
            key[1] = (key[1] + np.uint64(0xBB67AE85)) & mask
    return words


def philox_word(seed: int, position: Any) -> np.ndarray:
    return philox(seed, position)[0].astype(np.int64)


def philox_second_word(seed: int, position: Any) -> np.ndarray:
    return philox(seed, position)[1].astype(np.int64)


def philox_quarter(seed: int, offset: int, index: Any) -> np.ndarray:
    index = np.asarray(index, np.int64)
    words = np.stack(philox(seed, offset + (index >> 2)))
    return (np.take_along_axis(words, index[None] & 3, 0)[0] >> np.uint64(8)).astype(np.float64)


def philox_uniform(seed: int, position: Any) -> np.ndarray:
    return (philox(seed, position)[0] >> np.uint64(8)).astype(np.float64) * 2.0**-24


def philox_uniform64(seed: int, position: Any, first: int = 0) -> np.ndarray:
    words = philox(seed, position)[first:]
    bits = ((words[0] >> np.uint64(5)) << np.uint64(26)) + (words[1] >> np.uint64(6))
    return bits.astype(np.float64) * 2.0**-53


def philox_normal(seed: int, position: Any) -> np.ndarray:
    words = [w >> np.uint64(8) for w in philox(seed, position)]
    u, v = 1 - words[0].astype(np.float64) * 2.0**-24, words[1].astype(np.float64) * 2.0**-24
    return np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)


def philox_normal64(seed: int, position: Any) -> np.ndarray:
    u = 1 - philox_uniform64(seed, position)
    v = philox_uniform64(seed, position, 2)
    return np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)


def gamma_logarithm(shape: Any, first: Any, second: Any) -> np.ndarray:
    """Marsaglia's and Tsang's method, a key for each element."""
    a = np.asarray(shape, np.float64)
    a, first, second = np.broadcast_arrays(a, first, second)
    result = np.empty(a.shape)
    for place in np.ndindex(a.shape):
        key = int(first[place]) << 32 | int(second[place])
        d = a[place] + (a[place] < 1) - 1 / 3
        position = 0
        while True:
            z = philox_normal64(key, position + 1).item()
            u = philox_uniform64(key, position + 2).item()
            cube = (1 + z / np.sqrt(9 * d)) ** 3
            position += 2
            if cube > 0 and np.log1p(-u) < 0.5 * z * z + d - d * cube + d * np.log(cube):
                break
        result[place] = np.log(d * cube)
        if a[place] < 1:
            result[place] += np.log1p(-philox_uniform64(key, 0).item()) / a[place]
    return result


def gamma_slope(a: Any, y: Any, psi: Any) -> np.ndarray:
    """The integral of (log t - digamma(a)) p(t) / (x p(x)) from t = x = exp(y) on, or up to x."""
    a, y, psi = np.broadcast_arrays(a, y, psi)
    result = np.empty(a.shape)
    for place in np.ndindex(a.shape):
        shape, log_x, digamma = a[place], y[place], psi[place] - 1 / a[place]
        x = np.exp(log_x)
        sign = -1 if x > shape and (shape >= 1 or x > 1) else 1

        def density(w: float, shape=shape, x=x, log_x=log_x, digamma=digamma, sign=sign) -> float:
            ratio = np.expm1(min(-sign * w, 700.0))
            return np.exp(-shape * sign * w - x * ratio) * (log_x - sign * w - digamma)

        result[place] = (
            -sign * integrate.quad(density, 0, np.inf, epsabs=0, epsrel=1e-12, limit=200)[0]
        )
    return result
