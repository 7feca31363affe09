"""The one door to Triton: functions from text, Triton IR, GPU code without a GPU, lazy import."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import tritorch
from tritorch import triton_api
from tritorch.errors import CompileError
from tritorch.kernel_source import KernelSource

SCALE = KernelSource(
    "scale",
    '''
@triton.jit
def _twice(x):
    return x * 2.0


@triton.jit
def scale(x_ptr, o_ptr, n, factor, BLOCK: tl.constexpr = 64, MODE: tl.constexpr = "twice"):
    """Multiply; `factor` may be any float."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.store(o_ptr + offsets, _twice(x) * factor, mask=offsets < n)
''',
)
SIGNATURE = {"x_ptr": "*fp32", "o_ptr": "*fp32", "n": "i32", "factor": "fp32"}


def test_a_kernel_source_becomes_a_function_with_source() -> None:
    function = triton_api.jit_function(SCALE)
    assert function.__name__ == "scale" and function.arg_names[:2] == ["x_ptr", "o_ptr"]
    assert "def scale(x_ptr" in inspect.getsource(function.fn)
    assert triton_api.jit_function(SCALE) is function
    assert triton_api.jit_function(function) is function
    assert triton_api.source_digest(SCALE) == SCALE.digest
    assert triton_api.source_digest(function) == function.cache_key


@pytest.mark.parametrize(
    "source, message",
    [
        (
            KernelSource("f", "def f(:"),
            r"f: the kernel's source cannot be executed: .*invalid syntax",
        ),
        (
            KernelSource("f", "@triton.jit\ndef g(x): pass"),
            "defines no @triton.jit function.*: g|defines g",
        ),
        ("not a kernel", "expected a KernelSource or a @triton.jit function, got str"),
    ],
)
def test_what_is_no_kernel_is_refused(source: object, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        triton_api.jit_function(source)


def test_triton_ir_is_in_generic_form_and_optimised() -> None:
    found = triton_api.lower_to_triton_ir(SCALE, SIGNATURE, {"BLOCK": 32})
    assert found.name == "scale"
    assert '"tt.func"() <{' in found.text and '"tt.load"(' in found.text
    assert "tt.call" not in found.text  # _twice is inlined
    assert "tensor<32x" in found.text and "tensor<64x" not in found.text
    assert "tt.func public @scale" in found.pretty


def test_a_default_stands_in_for_a_constant() -> None:
    assert "tensor<64x" in triton_api.lower_to_triton_ir(SCALE, SIGNATURE, {}).text


def test_divisibility_in_the_signature() -> None:
    text = triton_api.lower_to_triton_ir(SCALE, SIGNATURE | {"o_ptr": "*fp32:16"}, {}).text
    assert "[{}, {tt.divisibility = 16 : i32}, {}, {}]" in text


@pytest.mark.parametrize(
    "signature, constants, message",
    [
        ({"x_ptr": "*fp32"}, {}, "parameter 'o_ptr' is in neither signature nor constants"),
        (SIGNATURE | {"y": "i32"}, {}, "scale: has no parameters y; they are x_ptr, o_ptr"),
        (dict(reversed(SIGNATURE.items())), {}, "List them in the kernel's order"),
        (SIGNATURE | {"x_ptr": "fp32"}, {}, "frontend refuses the kernel"),
    ],
)
def test_wrong_signatures_are_explained(
    signature: dict[str, str], constants: dict[str, object], message: str
) -> None:
    with pytest.raises(CompileError, match=message):
        triton_api.lower_to_triton_ir(SCALE, signature, constants)


def test_the_reason_inside_a_called_function_is_told() -> None:
    source = KernelSource(
        "outer",
        """
@triton.jit
def inner(x):
    tl.static_assert(x.dtype == tl.float16, "only float16 here")
    return x

@triton.jit
def outer(x_ptr):
    tl.store(x_ptr, inner(tl.load(x_ptr)))
""",
    )
    with pytest.raises(CompileError, match="only float16 here"):
        triton_api.lower_to_triton_ir(source, {"x_ptr": "*fp32"}, {})


def test_options_take_every_keyword() -> None:
    options = triton_api.CPUOptions(num_warps=8, brand_new_option="x")
    assert options.num_warps == 8 and options.brand_new_option == "x" and options.num_stages == 3
    assert options.hash() != triton_api.CPUOptions().hash()
    assert repr(options) == "CPUOptions(brand_new_option='x', num_warps=8)"


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_gpu_code_without_a_gpu(capability: int) -> None:
    code = triton_api.compile_gpu(SCALE, SIGNATURE, {"BLOCK": 128}, ("cuda", capability))
    assert list(code.assembly) == ["ttir", "ttgir", "llir", "ptx", "cubin"]
    ptx, cubin = code.assembly["ptx"], code.assembly["cubin"]
    assert isinstance(ptx, str) and f".target sm_{capability}" in ptx
    assert isinstance(cubin, bytes) and cubin[:4] == b"\x7fELF"
    assert code.metadata["name"] == "scale" and code.metadata["num_warps"] == 4


def test_gpu_options_are_passed_on() -> None:
    options = {"num_warps": 8, "enable_fp_fusion": False}
    code = triton_api.compile_gpu(SCALE, SIGNATURE, {}, ("cuda", 90), options)
    assert code.metadata["num_warps"] == 8 and code.metadata["enable_fp_fusion"] is False


def test_gpu_errors_name_kernel_and_target() -> None:
    with pytest.raises(CompileError, match="scale: does not compile for cuda 90"):
        triton_api.compile_gpu(SCALE, SIGNATURE | {"x_ptr": "fp32"}, {}, ("cuda", 90))


def test_importing_the_module_does_not_import_triton() -> None:
    code = (
        "import sys, tritorch.triton_api as api, tritorch.triton_cpu.compile\n"
        "assert api.triton_version()\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] in ('triton', 'torch')]"
    )
    path = str(tritorch.__path__[0]).removesuffix("/tritorch")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=path, timeout=300)


def test_the_version_is_tritons() -> None:
    import triton

    assert triton_api.triton_version() == triton.__version__
