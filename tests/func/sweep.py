"""`python -m tests.func.sweep [NAME ...]`: vmap of the oracle's expressions against a loop.

Each expression runs once under vmap and once per sample; nothing but tritorch is needed. It tells
which names agree, which differ, and which operations ran in a loop for want of a batching rule.
"""

from __future__ import annotations

import argparse
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tritorch
from tests.oracle.compare import WORD, difference, plain, table
from tests.oracle.inputs import FLOATS, OTHERS, Variant, _random, namespace
from tritorch.func import dispatch, vmap

SAMPLES = 3
VARIANT = Variant("float64", "float64")


@dataclass
class Tally:
    """What came of the expressions."""

    tried: int = 0
    agreed: int = 0
    refused: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    loops: Counter[str] = field(default_factory=Counter)
    #: expressions of which every part had a rule
    ruled: int = 0


def sample(name: str, number: int) -> Any:
    """The input of a sample: floats differ, indices and masks are the same numbers turned."""
    if name in FLOATS:
        made = np.asarray(FLOATS[name](_random(f"{name}{number or ''}")))
        return tritorch.tensor(made)
    made = np.asarray(OTHERS[name](_random(name)))
    return tritorch.tensor(np.roll(made, number, -1) if made.ndim else made)


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, tritorch.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [found for item in value for found in _tensors(item)]
    return []


def run(name: str, expression: str, tally: Tally, in_dim: int, everything: bool) -> None:
    """One expression, with the samples along `in_dim` of the float inputs, or of all of them."""
    words = set(WORD.findall(expression))
    known = FLOATS.keys() | (OTHERS.keys() if everything else set())
    mapped = sorted(words & known)
    if "cx" in words or "cx." in expression or not mapped:
        return
    rows = [{n: sample(n, k) for n in mapped} for k in range(SAMPLES)]
    fixed = namespace(tritorch, words, VARIANT)
    try:
        copies = [{n: value.clone() for n, value in row.items()} for row in rows]
        expected = [_tensors(eval(expression, fixed | row)) for row in copies]
    except Exception:
        return
    if not expected[0]:
        return
    same = {tuple(tuple(t.shape) for t in e) for e in expected}
    if len(same) > 1:
        return
    tally.tried += 1
    stacked = [tritorch.stack([row[n] for row in rows], in_dim) for n in mapped]

    def function(*values: Any) -> Any:
        return _tensors(eval(expression, fixed | dict(zip(mapped, values))))

    dispatch._warned.clear()
    try:
        found = vmap(function, in_dims=in_dim, randomness="same")(*stacked)
    except Exception as error:
        if str(error).startswith("vmap:") and isinstance(error, RuntimeError):
            tally.refused.append(f"{name}: {expression}: {error}")
        else:
            last = traceback.extract_tb(error.__traceback__)[-1]
            tally.failures.append(
                f"{name}: {expression}: {type(error).__name__}: {str(error)[:160]} "
                f"({last.filename.split('/')[-1]}:{last.lineno})"
            )
        return
    finally:
        tally.loops.update(dispatch._warned)
    wrong = None
    for k in range(SAMPLES):
        wrong = wrong or difference(plain([f[k] for f in found]), plain(expected[k]), "float64")
    if wrong:
        tally.failures.append(f"{name}: {expression}: {wrong}")
    else:
        tally.agreed += 1
        tally.ruled += not dispatch._warned


def main() -> None:
    """Run the sweep and print what fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.func.sweep", description=__doc__)
    parser.add_argument("names", nargs="*", help="only names that contain one of these")
    parser.add_argument("--part", default="1/1", help="k/n: every n-th name, from the k-th")
    parser.add_argument("--dim", type=int, default=0, help="where the samples are")
    parser.add_argument("--everything", action="store_true", help="indices and masks differ too")
    parser.add_argument("--show", type=int, default=60, help="failures to print")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    tally = Tally()
    for number, (name, expressions) in enumerate(table().items()):
        if number % parts != part - 1:
            continue
        if options.names and not any(word in name for word in options.names):
            continue
        for expression in expressions:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run(name, expression, tally, options.dim, options.everything)
    for failure in tally.failures[: options.show]:
        print("FAIL", failure)
    for refusal in tally.refused[: options.show // 4]:
        print("refused", refusal[:200])
    print(
        f"{tally.agreed} of {tally.tried} agree with a loop ({tally.ruled} by rules alone), "
        f"{len(tally.refused)} are refused as dependent on data, {len(tally.failures)} fail"
    )
    print("loops:", ", ".join(f"{n} {c}" for n, c in tally.loops.most_common()))


if __name__ == "__main__":
    main()
