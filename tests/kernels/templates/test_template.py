"""What `@kernel` makes of a function, without Triton."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import textwrap
from importlib import import_module
from pkgutil import iter_modules

import pytest

from tritorch import dtypes
from tritorch.kernels import templates
from tritorch.kernels.templates import matmul, rows, softmax
from tritorch.kernels.templates.template import Helper, Template
from tritorch.layout import Layout

PATH = templates.__path__


def test_the_source_has_helpers_before_the_kernel_and_no_docstrings() -> None:
    text = softmax.softmax_rows.source.text
    assert text.index("def to_compute") < text.index("def softmax_rows")
    assert text.count("@triton.jit") == 1 + len(softmax.softmax_rows.helpers)
    assert '"""' not in text
    assert "@kernel" not in text and "@helper" not in text


def test_texts_are_the_functions_as_parsed() -> None:
    """Cut out of their files by indentation and brackets, nothing is lost."""
    modules = [import_module(f"{templates.__name__}.{m.name}") for m in iter_modules(PATH)]
    helpers = {v for m in modules for v in vars(m).values() if type(v) in (Helper, Template)}
    assert len(helpers) > 100
    for helper in helpers:
        parsed = ast.parse(textwrap.dedent(inspect.getsource(helper.function))).body[0]
        assert isinstance(parsed, ast.FunctionDef)
        if ast.get_docstring(parsed) is not None:
            del parsed.body[0]
        cut = ast.parse(helper.text).body[0]
        assert isinstance(cut, ast.FunctionDef)
        parsed.decorator_list = cut.decorator_list
        assert ast.dump(cut) == ast.dump(parsed), helper.name


def test_importing_templates_imports_no_compiler() -> None:
    names = "bounds concat cross_entropy embedding indexing layer_norm matmul multi_tensor softmax"
    code = "import sys\n" + "".join(
        f"import tritorch.kernels.templates.{name}\n" for name in names.split()
    )
    code += "print([n for n in ('triton', 'llvmlite') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_steps_of_0_and_1_become_constants_and_counts_do_not() -> None:
    x = Layout.contiguous(dtypes.float32, (1, 8))
    values = dict.fromkeys(softmax.softmax_rows.parameters, 1)
    del values["y_ptr"], values["x_ptr"]
    signature, constants, bound = softmax.softmax_rows.arguments({"y_ptr": x, "x_ptr": x}, values)
    assert signature == {"y_ptr": "*fp32", "x_ptr": "*fp32", "n_cols": "i32"}
    assert bound == [None, None, 1]
    assert constants["x_column_stride"] == 1 and constants["BLOCK"] == 1


def test_strides_are_64_bit_where_a_buffer_needs_it() -> None:
    x = Layout.of(dtypes.float32, (3, 4), (2**31, 7))
    values = dict.fromkeys(softmax.softmax_rows.parameters, 9)
    del values["y_ptr"], values["x_ptr"]
    signature, _, _ = softmax.softmax_rows.arguments({"y_ptr": x, "x_ptr": x}, values)
    assert signature["x_stride0"] == "i64"


def test_a_missing_and_an_unknown_value_are_named() -> None:
    with pytest.raises(TypeError, match="parameter 'n_cols' has no value"):
        softmax.softmax_rows.arguments({"y_ptr": "*fp32", "x_ptr": "*fp32"}, {})
    with pytest.raises(TypeError, match="calls no helpers named prologue"):
        matmul.matmul_tile.specialised({"prologue": "def prologue(x):\n    return x\n"})


def test_candidates_keep_the_declared_order_and_condition() -> None:
    found = matmul.matmul_tile.tunable.candidates("cuda", {})
    assert all(
        c["BLOCK_M"] * c["BLOCK_N"] <= 4096 * c["num_warps"] * (1 + c["SPECIALIZED"]) for c in found
    )
    first = {"BLOCK_M": 16, "BLOCK_N": 16, "BLOCK_K": 32, "GROUP_M": 1}
    first |= {"COPIED": False, "SPECIALIZED": False, "SPLIT_K": 1}
    assert found[0] == {**first, "num_warps": 4, "num_stages": 2}
    # A CPU kernel has no launch options.
    assert matmul.matmul_tile.tunable.candidates("cpu", {})[0] == first


def test_rows_collapse_and_refuse_too_many_dimensions() -> None:
    found = rows.levels("f", (2, 3, 5), [(15, 5, 1), (0, 0, 1)])
    assert found.count == 30
    assert found.sizes == (6, 5, 1, 1)
    assert found.strides == ((5, 1, 0, 0), (0, 1, 0, 0))
    strides = (1000, 100, 10, 3, 2)
    with pytest.raises(RuntimeError, match="5 dimensions that do not merge"):
        rows.levels("f", (2, 2, 2, 2, 2), [strides])
