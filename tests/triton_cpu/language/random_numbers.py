"""Philox and what is made of its words, against NumPy's integers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.triton_cpu.language.harness import Case, group

_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)


def philox(seed: int, counters: list[np.ndarray], rounds: int = 10) -> list[np.ndarray]:
    """The four 32-bit words of Philox-4x32 for counters of four words."""
    c = [counter.astype(np.uint64) & _LOW for counter in counters]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    for _ in range(rounds):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (b >> _WORD) ^ c[1] ^ np.uint64(k0),
            b & _LOW,
            (a >> _WORD) ^ c[3] ^ np.uint64(k1),
            a & _LOW,
        ]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [word.astype(np.uint32) for word in c]


def words(seed: int, offsets: np.ndarray, rounds: int = 10) -> list[np.ndarray]:
    zero = np.zeros(len(offsets), np.uint32)
    wide = offsets.astype(np.uint64)
    high = wide >> _WORD if offsets.dtype.itemsize == 8 else zero
    return philox(seed, [wide & _LOW, high, zero, zero], rounds)


def uniform(bits: np.ndarray) -> np.ndarray:
    signed = bits.view(np.int32).astype(np.int64)
    size = np.where(signed < 0, -signed - 1, signed)
    return (size.astype(np.float32) * np.float32(4.6566127342e-10)).astype(np.float32)


def normal_pair(u1: np.ndarray, u2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r = np.sqrt(-2 * np.log(np.maximum(u1.astype(np.float64), 1e-7)))
    angle = 6.283185307179586 * u2.astype(np.float64)
    return (r * np.cos(angle)).astype("f4"), (r * np.sin(angle)).astype("f4")


@group("random")
def integers() -> Iterator[Case]:
    for kind in ("int32", "int64", "uint32"):
        offsets = np.arange(128, dtype=kind) * 33
        if kind == "int64":
            offsets = offsets * (1 << 33)
        for seed in (0, 1234, 2**31 - 1):
            found = words(seed, offsets)
            load = "i = tl.arange(0, 128)\nf = tl.load(f + i)\n"
            body = load + "tl.store(o + i, tl.randint(seed, f))\n"
            body += "a, b, c, d = tl.randint4x(seed, f)\n"
            body += "".join(
                f"tl.store(p + {k * 128} + i, {name})\n" for k, name in enumerate("abcd")
            )
            body += "tl.store(q + i, tl.randint(seed, f, n_rounds=7))"
            short = words(seed, offsets, 7)[0]
            # the words are unsigned for unsigned offsets, and stored as int32 here either way
            yield Case(
                f"randint, randint4x {kind} seed {seed}",
                body,
                {"f": offsets, "seed": seed},
                {
                    "o": found[0].view(np.int32),
                    "p": np.stack(found).view(np.int32),
                    "q": short.view(np.int32),
                },
            )
    counters = [np.arange(k, 128 + k, dtype=np.uint32) for k in (1, 5, 9, 13)]
    for name in ("philox", "philox_impl"):
        body = "i = tl.arange(0, 128)\nc = i.to(tl.uint32)\n"
        if name == "philox":
            body += "a, b, c, d = tl.philox(77, c + 1, c + 5, c + 9, c + 13)\n"
            key = 77
        else:
            body += "k = tl.full([128], 11, tl.uint32)\n"
            body += "a, b, c, d = tl.philox_impl(c + 1, c + 5, c + 9, c + 13, k, k + 1)\n"
            key = 11 | 12 << 32
        body += "".join(f"tl.store(o + {k * 128} + i, {v})\n" for k, v in enumerate("abcd"))
        yield Case(name, body, {}, {"o": np.stack(philox(key, counters))})


@group("random")
def floats() -> Iterator[Case]:
    offsets = np.arange(128, dtype=np.int32)
    found = words(99, offsets)
    u = [uniform(word) for word in found]
    body = "i = tl.arange(0, 128)\ntl.store(o + i, tl.rand(99, i))\n"
    body += "a, b, c, d = tl.rand4x(99, i)\n"
    body += "".join(f"tl.store(p + {k * 128} + i, {name})\n" for k, name in enumerate("abcd"))
    body += "tl.store(q + i, tl.uint_to_uniform_float(tl.load(w + i)))"
    yield Case(
        "rand, rand4x",
        body,
        {"w": found[1]},
        {"o": u[0], "p": np.stack(u), "q": u[1]},
        1,
    )
    first, second = normal_pair(u[0], u[1])
    third, fourth = normal_pair(u[2], u[3])
    body = "i = tl.arange(0, 128)\ntl.store(o + i, tl.randn(99, i))\n"
    body += "a, b, c, d = tl.randn4x(99, i)\n"
    body += "".join(f"tl.store(p + {k * 128} + i, {name})\n" for k, name in enumerate("abcd"))
    body += "e, f = tl.pair_uniform_to_normal(tl.load(u + i), tl.load(v + i))\n"
    body += "tl.store(q + i, e)\ntl.store(r + i, f)"
    yield Case(
        "randn, randn4x",
        body,
        {"u": u[0], "v": u[1]},
        {"o": first, "p": np.stack([first, second, third, fourth]), "q": first, "r": second},
        absolute=2e-6,
    )
