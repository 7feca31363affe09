"""The table of operations says what is so: every public name, its kernels, its gradients."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

import tritorch as torch
from tests.oracle.compare import WORD, table
from tests.oracle.inputs import FLOATS, Variant, namespace
from tritorch.ops.table import Row, public_functions, rows

ROOT = Path(__file__).resolve().parents[2]
TABLE = rows()
BY_NAME = {name: row for row in TABLE for name in (row.name, *row.aliases)}
#: public functions that ask or set something and make no tensors
QUESTIONS = {
    "broadcast_shapes", "can_cast", "get_default_device", "get_rng_state", "initial_seed",
    "is_complex", "is_floating_point", "is_nonzero", "is_same_size", "is_signed", "is_storage",
    "is_tensor", "manual_seed", "nn.functional.reduction_of", "numel", "result_type", "seed",
    "set_default_device", "set_rng_state", "Tensor.is_pinned", "typename",
}  # fmt: skip


def test_every_public_function_has_a_row() -> None:
    """Nothing is an operation that no declaration and no code explains."""
    missing = public_functions().keys() - BY_NAME.keys() - QUESTIONS
    assert not missing, f"without a row: {sorted(missing)}"
    assert len(TABLE) > 500 and len(BY_NAME) > 650


def test_every_element_comes_from_a_kernel() -> None:
    """All but views and plain memory name the files of their kernels, which exist."""
    for row in TABLE:
        if row.kind in ("view", "memory"):
            continue
        assert row.sources, f"{row.name} ({row.kind}) has no kernel"
        for source in row.sources:
            assert (ROOT / source).is_file(), f"{row.name}: {source}"
        assert (ROOT / row.declared_in).is_file(), f"{row.name}: {row.declared_in}"
        if row.kind == "composite":
            assert row.parts, f"{row.name} is made of nothing"


@pytest.mark.parametrize(
    ("name", "kind", "source", "parts"),
    [
        ("add", "pointwise", "kernels/pointwise.py", set()),
        ("sum", "reduction", "kernels/reduction.py", set()),
        ("cumsum", "scan", "kernels/scan.py", set()),
        ("sort", "kernel", "kernels/templates/sort.py", set()),
        ("cat", "kernel", "kernels/templates/concat.py", set()),
        ("gather", "kernel", "kernels/templates/indexing.py", set()),
        ("hstack", "composite", "kernels/templates/concat.py", {"cat"}),
        ("select_scatter", "composite", "kernels/pointwise.py", {"clone", "select"}),
        ("linalg.pinv", "composite", "kernels/templates/factorization.py", {"linalg.svd"}),
        ("nn.functional.softmin", "composite", "kernels/templates/softmax.py", {"softmax"}),
    ],
)
def test_what_operations_are_made_of(name: str, kind: str, source: str, parts: set[str]) -> None:
    """Kernels and parts are those that the code uses."""
    row = BY_NAME[name]
    assert row.kind == kind
    assert source in row.sources
    assert parts <= set(row.parts)


def test_dtypes() -> None:
    """As the declared rules say."""
    assert "bool" in BY_NAME["logical_and"].dtypes
    assert "float32" not in (BY_NAME["bitwise_and"].dtypes or ())
    assert BY_NAME["mean"].dtypes == tuple(
        kind.name for kind in torch.dtypes.ALL if kind.is_floating_point
    )


def test_samples_of_a_cross_check_are_added() -> None:
    """Under any of the names of an operation."""
    more = {row.name: row for row in rows({"hstack": 6, "subtract": 2})}
    assert more["hstack"].samples == BY_NAME["hstack"].samples + 6
    assert more["sub"].samples == BY_NAME["sub"].samples + 2


def _row(name: str) -> Row | None:
    return BY_NAME.get(name.replace("F.", "nn.functional.")) or BY_NAME.get(f"Tensor.{name}")


def _results(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [one for entry in value for one in _results(entry)]
    return [value] if isinstance(value, torch.Tensor) else []


def _programs() -> dict[str, list[str]]:
    """Operations of the cross-check, with its programs that have floating-point inputs."""
    found: dict[str, list[str]] = {}
    for name, expressions in table().items():
        row = _row(name)
        called = name.removeprefix("F.").rsplit(".", 1)[-1]
        if row is not None and not name.endswith("_"):
            found.setdefault(row.name, []).extend(
                expression
                for expression in expressions
                if any(word in FLOATS for word in WORD.findall(expression))
                and f".{called}(" in expression
            )
    return found


def _recorded(expressions: list[str]) -> bool | None:
    """Whether the first program that gives tensors records a gradient; some are to fail."""
    variant = Variant("float64", "float64", gradients=1)
    for expression in expressions:
        scope = namespace(torch, set(WORD.findall(expression)), variant)
        with contextlib.suppress(Exception):
            results = _results(eval(expression, scope))
            if results:
                return any(result.requires_grad for result in results)
    return None


def test_gradients_are_as_the_table_says() -> None:
    """Run on inputs that want gradients, an operation records a node or does not."""
    found = {name: _recorded(expressions) for name, expressions in _programs().items()}
    known = {name: recorded for name, recorded in found.items() if recorded is not None}
    assert len(known) > 300
    wrong = [name for name, recorded in known.items() if recorded != _promises(name)]
    assert not wrong, f"the table says the opposite of what they do: {wrong}"


def _promises(name: str) -> bool:
    return BY_NAME[name].gradient == "any"
