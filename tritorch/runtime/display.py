"""How kernels look in a notebook: their source, highlighted, under a line that says what they are.

Whatever is shown carries its own styles; a page with many kernels needs no common sheet.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

#: source lines that are shown; generated kernels are shorter
_LINES = 200


def code(text: str, language: str = "python") -> str:
    """Source text as HTML, highlighted by Pygments (which comes with rich).

    Args:
        language: a name that Pygments knows: python, llvm, gas, ...
    """
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    lines = text.strip("\n").splitlines()
    if len(lines) > _LINES:
        lines[_LINES:] = [f"... {len(lines) - _LINES} more lines"]
    formatter = HtmlFormatter(noclasses=True, nobackground=True, prestyles="margin:4px 0")
    return str(highlight("\n".join(lines), get_lexer_by_name(language), formatter))


def kernel_html(name: str, facts: Mapping[str, Any], source: str) -> str:
    """A kernel: its name, what else is to be said of it, its Triton source."""
    rows = "".join(
        f"<tr><td style='text-align:left'>{html.escape(key)}</td>"
        f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
        for key, value in facts.items()
        if value not in ("", None)
    )
    return f"<div><b>{html.escape(name)}</b><table>{rows}</table>{code(source)}</div>"


def pairs(values: Mapping[str, Any]) -> str:
    """`name=value` for each."""
    return " ".join(f"{name}={value}" for name, value in values.items())
