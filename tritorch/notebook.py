"""How tensors and modules look in a notebook: small tables and trees, in plain HTML."""

from __future__ import annotations

from html import escape
from typing import Any

#: rows and columns of a tensor that are shown
_ROWS, _COLUMNS = 6, 8
_QUIET = "color:gray;font-weight:normal"


def tensor_html(tensor: Any) -> str:
    """A tensor's class, shape, dtype and device over its first values.

    Of more than two dimensions the first matrix is shown.
    """
    if not _is_made(tensor):
        return f"<div>{escape(repr(tensor))}</div>"
    layout = tensor._layout
    facts = [f"{tuple(layout.shape)}", layout.dtype.name, str(layout.device)]
    if tensor._grad_fn is not None:
        facts.append(f"grad_fn={tensor._grad_fn.name()}")
    elif tensor._requires_grad:
        facts.append("requires_grad")
    heading = f"<b>{escape(type(tensor).__name__)}</b> <span style='{_QUIET}'>"
    heading += escape(" · ".join(facts)) + "</span>"
    if not layout.numel:
        return f"<div>{heading}</div>"
    values = tensor.detach()
    leading = layout.ndim - 2
    if leading > 0:
        place = ", ".join(["0"] * leading + [":", ":"])
        heading += f" <span style='{_QUIET}'>[{place}]</span>"
        values = values[(0,) * leading]
    while values.ndim < 2:
        values = values.unsqueeze(0)
    return f"<div>{heading}{_table(values)}</div>"


def _table(matrix: Any) -> str:
    """The first rows and columns, with dots where there are more."""
    rows, columns = matrix.shape
    shown = matrix[:_ROWS, :_COLUMNS].tolist()
    dots = ["…"] if columns > _COLUMNS else []
    lines = [[*map(_number, row), *dots] for row in shown]
    if rows > _ROWS:
        lines.append(["…"] * len(lines[0]))
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:right'>{cell}</td>" for cell in line) + "</tr>"
        for line in lines
    )
    return f"<table style='font-family:monospace'>{body}</table>"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def module_html(module: Any, name: str = "") -> str:
    """A module and those in it as a tree that folds, with the number of their parameters."""
    count = sum(parameter.numel() for parameter in module.parameters() if _is_made(parameter))
    label = f"<span style='{_QUIET}'>{escape(name)}</span> " if name else ""
    label += f"<b>{escape(module._get_name())}</b>"
    extra = module.extra_repr()
    if extra:
        label += f"({escape(extra)})"
    if count:
        label += f" <span style='{_QUIET}'>{count:,} parameters</span>"
    children = [module_html(child, own) for own, child in module._modules.items() if child]
    style = "font-family:monospace;margin-left:1.2em"
    if not children:
        return f"<div style='{style}'>{label}</div>"
    return f"<details open style='{style}'><summary>{label}</summary>{''.join(children)}</details>"


def _is_made(parameter: Any) -> bool:
    """Whether it has memory; that of a lazy module has none before its first call."""
    return not hasattr(parameter, "materialize")
