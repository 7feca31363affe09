"""One expression on both libraries: values, dtypes, shapes, gradients of both orders."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.oracle.derived import derived
from tests.oracle.exact import exact_names, exactly
from tests.oracle.exceptions import reason
from tests.oracle.inputs import FLOATS, FORMS, VARIANTS, Variant, namespace

#: (relative, absolute) by the dtype that was computed in; gradients sum, so they get ten times that
TOLERANCES = {
    "float64": (1e-8, 1e-10),
    "float32": (1e-4, 1e-5),
    "float16": (5e-3, 2e-3),
    "bfloat16": (4e-2, 2e-2),
    "int64": (1e-4, 1e-5),
}
#: names whose results for infinities and nan are not defined
NOT_EDGES = ("linalg.", "cholesky", "triangular")
WORD = re.compile(r"(?<![\w.'])[a-z]\w*")


@dataclass
class Verdict:
    """How the samples of one name went."""

    name: str
    tried: int = 0
    passed: int = 0
    #: of those tried, how many are other forms: the method, in place, with `out=`
    forms: int = 0
    failures: list[str] = field(default_factory=list)
    #: differs where PyTorch is wrong, see `tests.oracle.exceptions`
    excused: list[str] = field(default_factory=list)
    #: half precision that is nearer to the result in float64 than PyTorch's, or to mpmath's
    nearer: list[str] = field(default_factory=list)
    #: PyTorch refuses, we do not
    lenient: list[str] = field(default_factory=list)


def plain(value: Any) -> Any:
    """A result as (dtype, shape, numbers), nested as it was; what is not a tensor, as its text."""
    if hasattr(value, "detach") and hasattr(value, "stride"):
        numbers = value.detach().cpu()
        name = str(numbers.dtype)
        if "bfloat16" in name or "float8" in name or "float16" in name:
            numbers = numbers.float()
        return (
            name,
            tuple(value.shape),
            np.asarray(
                numbers.resolve_neg().numpy()
                if hasattr(numbers, "resolve_neg")
                else numbers.numpy()
            ),
        )
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, int, float)):
        return (type(value).__name__, (), np.asarray(value))
    return str(value)


def difference(ours: Any, theirs: Any, kind: str, times: float = 1) -> str | None:
    """What differs between two plain results, in a few words."""
    if isinstance(theirs, list):
        if not isinstance(ours, list) or len(ours) != len(theirs):
            return f"{len(ours) if isinstance(ours, list) else 1} results, expected {len(theirs)}"
        for place, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if wrong := difference(a, b, kind, times):
                return f"[{place}] {wrong}"
        return None
    if isinstance(theirs, str) or isinstance(ours, (str, list)):
        return None if ours == theirs else f"{ours!r:.80}, expected {theirs!r:.80}"
    for place, word in ((0, "dtype"), (1, "shape")):
        if ours[place] != theirs[place]:
            return f"{word} {ours[place]}, expected {theirs[place]}"
    if theirs[2].dtype.kind in "biu":
        same = bool(np.array_equal(ours[2], theirs[2]))
    else:
        # Integers give float32; half precision may come back as something wider.
        single = kind == "float64" and "float32" in theirs[0]
        relative, absolute = TOLERANCES["float32" if single else kind]
        bounds = (relative * times, absolute * times)
        same = bool(np.allclose(ours[2], theirs[2], *bounds, equal_nan=True))
    if same:
        return None
    shown = [np.array2string(a[2].reshape(-1)[:6], precision=5) for a in (ours, theirs)]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        worst = np.nanmax(np.abs(np.subtract(ours[2], theirs[2], dtype=np.float64)), initial=0)
    return f"off by {worst:.3g}: {shown[0]}, expected {shown[1]}"


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [found for item in value for found in _tensors(item)]
    return [value] if hasattr(value, "requires_grad") and value.requires_grad else []


def _cotangents(torch: Any, tensors: list[Any], places: Iterable[int]) -> list[Any]:
    """Random upstream gradients that depend on the place of a tensor only."""
    return [
        torch.tensor(np.random.default_rng(k).uniform(-1, 1, tuple(t.shape))).to(t.dtype)
        for t, k in zip(tensors, places, strict=True)
    ]


def outcome(torch: Any, expression: str, variant: Variant) -> dict[str, Any]:
    """ "error" or "value", and with gradients "first" and "second" (None where there are none)."""
    words = set(WORD.findall(expression))
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = namespace(torch, words, variant)
        try:
            value = eval(expression, names)
            found["value"] = plain(value)
        except Exception as error:
            found["error"] = error
            return found
        leaves = [names[n] for n in sorted(words) if n in FLOATS]
        outputs = _tensors(value)
        if not variant.gradients or not outputs or not leaves:
            return found
        try:
            first = torch.autograd.grad(
                outputs,
                leaves,
                _cotangents(torch, outputs, range(len(outputs))),
                create_graph=variant.gradients > 1,
                allow_unused=True,
            )
            found["first"] = plain([0 if g is None else g for g in first])
        except Exception as error:
            found["first error"] = error
            return found
        places = [k for k, g in enumerate(first) if g is not None and g.requires_grad]
        again = [first[k] for k in places]
        if variant.gradients < 2 or not again:
            return found
        try:
            second = torch.autograd.grad(
                again, leaves, _cotangents(torch, again, places), allow_unused=True
            )
            shapes = [tuple(leaf.shape) for leaf in leaves]
            found["second"] = [
                ("", shape, np.zeros(shape) if g is None else plain(g)[2])
                for g, shape in zip(second, shapes, strict=True)
            ]
        except Exception as error:
            found["second error"] = error
    return found


def _is_right(torch: Any, expression: str, variant: Variant, value: Any) -> bool:
    """Whether a result is what mpmath gives, or one in half precision, within its rounding, what
    float64 gives."""
    if names := exact_names(expression):
        with exactly(torch, names):
            truth = outcome(torch, expression, variant).get("value")
        return truth is not None and difference(value, truth, variant.dtype) is None
    if "16" not in variant.dtype:
        return False
    exact = Variant("exact", "float64", rounded=variant.dtype)
    truth = outcome(torch, expression, exact).get("value")
    return truth is not None and difference(_doubled(value), truth, variant.dtype) is None


def _doubled(value: Any) -> Any:
    """The same numbers under the name of float64, to be compared with it."""
    if isinstance(value, list):
        return [_doubled(item) for item in value]
    if isinstance(value, tuple) and "float" in value[0]:
        return ("torch.float64", *value[1:])
    return value


def sample(ours: Any, torch: Any, expression: str, variant: Variant) -> tuple[str, str]:
    """("passed" | "failed" | "lenient" | "nearer", what)."""
    theirs = outcome(torch, expression, variant)
    found = outcome(ours, expression, variant)
    if "error" in theirs:
        if "error" in found:
            if isinstance(found["error"], (AttributeError, NotImplementedError)) and not isinstance(
                theirs["error"], type(found["error"])
            ):
                return "failed", f"missing: {found['error']}"
            return "passed", ""
        return "lenient", f"PyTorch: {theirs['error']!s:.100}"
    if "error" in found:
        return "failed", f"{type(found['error']).__name__}: {found['error']!s:.200}"
    if wrong := difference(found["value"], theirs["value"], variant.dtype):
        if _is_right(torch, expression, variant, found["value"]):
            return "nearer", wrong
        return "failed", wrong
    for order in ("first", "second"):
        if f"{order} error" in theirs or order not in theirs:
            return "passed", ""  # PyTorch has no gradient here
        if f"{order} error" in found:
            error = found[f"{order} error"]
            return "failed", f"{order} gradient: {type(error).__name__}: {error!s:.200}"
        if order not in found:
            if all(not np.any(g[2]) for g in theirs[order]):
                return "passed", ""
            return "failed", f"no {order} gradient"
        if wrong := difference(found[order], theirs[order], variant.dtype, 10):
            return "failed", f"{order} gradient: {wrong}"
    return "passed", ""


def judge(
    ours: Any,
    torch: Any,
    name: str,
    expressions: Iterable[str],
    variants: Iterable[Variant] = VARIANTS,
) -> Verdict:
    """Every expression of a name in every variant that changes something for it, and its forms."""
    verdict = Verdict(name)
    given = list(expressions)
    for expression in given:
        for variant in variants_of(name, expression, variants):
            _try(ours, torch, verdict, expression, variant)
    if not name.endswith("_"):
        for expression in derived(given):
            form = FORMS[expression.startswith("out(")]
            if "error" not in outcome(torch, expression, form):
                verdict.forms += 1
                _try(ours, torch, verdict, expression, form)
    return verdict


def variants_of(
    name: str, expression: str, variants: Iterable[Variant] = VARIANTS
) -> list[Variant]:
    """Those in which an expression of this name runs."""
    floating = any(word in FLOATS or word == "cx" for word in WORD.findall(expression))
    return [
        variant
        for variant in (variants if floating else VARIANTS[:1])
        if not (variant.edges and name.startswith(NOT_EDGES))
    ]


def _try(ours: Any, torch: Any, verdict: Verdict, expression: str, variant: Variant) -> None:
    verdict.tried += 1
    result, what = sample(ours, torch, expression, variant)
    line = f"{expression} [{variant.name}]: {what}"
    why = reason(expression, variant)
    if result == "passed":
        verdict.passed += 1
        if why:
            verdict.failures.append(f"{line} agrees, but is listed as an exception: {why}")
    elif result in ("lenient", "nearer"):
        getattr(verdict, result).append(line)
    elif why:
        verdict.excused.append(f"{line} ({why})")
    else:
        verdict.failures.append(line)


def table() -> dict[str, list[str]]:
    """name -> expressions, of all tables."""
    from tests.oracle import names, names_linear, names_more, names_neural, names_shape

    found: dict[str, list[str]] = {}
    for module in (names, names_shape, names_linear, names_neural, names_more):
        for text in module.TABLES.values():
            for line in text.strip().splitlines():
                name, *expressions = (part.strip() for part in line.split(" | "))
                found.setdefault(name, []).extend(expressions)
    return found
