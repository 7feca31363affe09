"""Every layer of torch.nn on both libraries: text, state, outputs, gradients, state afterwards.

A row is an expression that makes the layer, and expressions of its inputs; both are evaluated with
either library. The weights are drawn once and copied across.
"""

from __future__ import annotations

import argparse
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.oracle.compare import difference, plain
from tests.oracle.module_rows import ROWS

#: classes that are no layers to call, and why
NOT_CALLED = {
    "Module": "has no forward",
    "Container": "has no forward",
    "ModuleDict": "has no forward",
    "ModuleList": "has no forward",
    "ParameterDict": "has no forward",
    "ParameterList": "has no forward",
    "RNNBase": "is what RNN, LSTM and GRU share",
    "RNNCellBase": "is what the cells share",
    "Parameter": "is a tensor",
    "Buffer": "is a tensor",
    "UninitializedParameter": "is a tensor",
    "UninitializedBuffer": "is a tensor",
    "LinearCrossEntropyOptions": "holds options",
}


@dataclass
class Verdict:
    """How a row went in one dtype."""

    row: str
    dtype: str
    failures: list[str]


def numbers(text: str, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
    """The same numbers for the same text, whichever library asks."""
    random = np.random.default_rng(zlib.crc32(f"{text}{shape}".encode()))
    return random.uniform(low, high, shape)


def inputs_of(torch: Any, texts: tuple[str, ...], dtype: str) -> list[Any]:
    """The inputs of a row on one library; `x(...)` is a leaf whose gradient is compared."""
    kind = getattr(torch, dtype)
    made = []

    def x(*shape: int, low: float = -2.0, high: float = 2.0) -> Any:
        values = numbers(f"{place}", low, high, shape)
        return torch.tensor(values).to(kind).requires_grad_(True)

    def c(*shape: int, low: float = -2.0, high: float = 2.0) -> Any:
        return torch.tensor(numbers(f"{place}", low, high, shape)).to(kind)

    def n(limit: int, *shape: int) -> Any:
        return torch.tensor(numbers(f"{place}", 0, limit, shape).astype(np.int64))

    for place, text in enumerate(texts):  # noqa: B007 - the functions above read it
        names = {"torch": torch, "nn": torch.nn, "x": x, "c": c, "n": n, "dtype": kind}
        made.append(eval(text, names))
    return made


def layer_of(torch: Any, text: str, dtype: str) -> Any:
    """A row's layer on one library."""
    torch.manual_seed(0)
    made = eval(text, {"torch": torch, "nn": torch.nn})
    return made.to(getattr(torch, dtype))


def tensors_in(value: Any) -> list[Any]:
    """The tensors of nested tuples, lists and dictionaries, in order."""
    if hasattr(value, "detach"):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [tensor for part in value for tensor in tensors_in(part)]
    return []


def run(torch: Any, layer: Any, texts: tuple[str, ...], dtype: str, mode: str) -> dict[str, Any]:
    """What a call gives: outputs, gradients of inputs and parameters, and the state afterwards."""
    layer.train(mode == "train")
    inputs = inputs_of(torch, texts, dtype)
    output = layer(*inputs)
    outputs = tensors_in(output)
    loss = None
    for place, tensor in enumerate(outputs):
        if tensor.requires_grad:
            weights = torch.tensor(numbers(f"w{place}", -1, 1, tuple(tensor.shape)))
            part = (tensor * weights.to(tensor.dtype)).sum()
            loss = part if loss is None else loss + part
    if loss is not None:
        loss.backward()
    found: dict[str, Any] = {f"output {i}": plain(tensor) for i, tensor in enumerate(outputs)}
    watched = [(f"input {i}", t) for i, t in enumerate(tensors_in(inputs)) if t.requires_grad]
    for name, tensor in [*watched, *layer.named_parameters()]:
        found[f"gradient of {name}"] = None if tensor.grad is None else plain(tensor.grad)
    for name, tensor in layer.state_dict().items():
        found[f"state {name}"] = plain(tensor)
    return found


def copy_weights(torch: Any, tritorch: Any, theirs: Any, ours: Any) -> None:
    """Draw PyTorch's parameters anew (none is 0 or 1 by chance) and load its state here."""
    lazy = torch.nn.parameter.is_lazy
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if not lazy(parameter):
                drawn = numbers(name, -0.8, 0.8, tuple(parameter.shape))
                parameter.copy_(torch.tensor(drawn))
    state = {k: v for k, v in theirs.state_dict().items() if not lazy(v)}
    if len(state) == len(theirs.state_dict()):
        ours.load_state_dict({k: tritorch.tensor(v.numpy().copy()) for k, v in state.items()})


def judge(torch: Any, tritorch: Any, row: Any, dtype: str) -> Verdict:
    """Compare one row in one dtype."""
    verdict = Verdict(row.layer, dtype, [])
    fail = verdict.failures.append
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = layer_of(torch, row.layer, dtype)
            ours = layer_of(tritorch, row.layer, dtype)
            if repr(theirs) != repr(ours):
                fail(f"repr {ours!r}, expected {theirs!r}")
            if list(theirs.state_dict()) != list(ours.state_dict()):
                fail(f"keys {list(ours.state_dict())}, expected {list(theirs.state_dict())}")
                return verdict
            if row.lazy:  # the first call gives both their parameters
                torch.manual_seed(0)
                tritorch.manual_seed(0)
                theirs(*inputs_of(torch, row.inputs, dtype))
                ours(*inputs_of(tritorch, row.inputs, dtype))
                if repr(theirs) != repr(ours):
                    fail(f"repr after the first call {ours!r}, expected {theirs!r}")
            copy_weights(torch, tritorch, theirs, ours)
            expected = run(torch, theirs, row.inputs, dtype, row.mode)
            found = run(tritorch, ours, row.inputs, dtype, row.mode)
    except Exception as error:
        fail(f"{type(error).__name__}: {error}"[:300])
        return verdict
    if expected.keys() != found.keys():
        fail(f"{sorted(found.keys() ^ expected.keys())} are on one side only")
    for name in expected.keys() & found.keys():
        own, other = found[name], expected[name]
        if row.wrong_gradients and name.startswith("gradient"):
            continue
        if row.random and not name.startswith("state"):
            own, other = (None if v is None else (v[0], v[1]) for v in (own, other))
            wrong = None if own == other else f"{own}, expected {other}"
        elif own is None or other is None:
            wrong = None if own is other else "is None on one side only"
        else:
            wrong = difference(own, other, dtype, 10 if name.startswith("gradient") else 1)
        if wrong:
            fail(f"{name}: {wrong}")
    return verdict


def uncovered(torch: Any) -> list[str]:
    """Classes of torch.nn that no row makes."""
    classes = [n for n, v in vars(torch.nn).items() if isinstance(v, type) and n[0].isupper()]
    text = " ".join(row.layer for row in ROWS)
    return [n for n in sorted(classes) if f"nn.{n}(" not in text and n not in NOT_CALLED]


def main() -> None:
    """Judge all rows and print what fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.modules", description=__doc__)
    parser.add_argument("names", nargs="*", help="only rows that contain one of these")
    options = parser.parse_args()
    import torch
    import torch.nn.utils.prune

    import tritorch

    torch.set_num_threads(1)
    verdicts = []
    for row in ROWS:
        if options.names and not any(name in row.layer for name in options.names):
            continue
        for dtype in ("float64", "float32"):
            verdict = judge(torch, tritorch, row, dtype)
            verdicts.append(verdict)
            for failure in verdict.failures[:6]:
                print(f"{row.layer} {row.inputs} {dtype}: {failure}", flush=True)
    passed = sum(not verdict.failures for verdict in verdicts)
    drawn = 2 * sum(row.random for row in ROWS)
    excused = 2 * sum(bool(row.wrong_gradients) for row in ROWS)
    print(
        f"layers: {passed} of {len(verdicts)} rows agree; of all rows, {drawn} draw random numbers "
        f"(shapes and dtypes compared), {excused} are compared without gradients, since PyTorch's "
        f"are wrong; classes without a row: {uncovered(torch) or 'none'}"
    )


if __name__ == "__main__":
    main()
