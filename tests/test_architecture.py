"""The floors of docs/architecture.md, read from the code's own imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Longest prefix wins. A module may import from its own room and from lower floors only.
FLOORS = {
    "tritorch.config": 0,
    "tritorch.determinism": 0,
    "tritorch.devices": 0,
    "tritorch.dtypes": 0,
    "tritorch.errors": 0,
    "tritorch.installed": 0,
    "tritorch.kernel_source": 0,
    "tritorch.once": 0,
    "tritorch.layout": 0,
    "tritorch.triton_api": 0,
    "tritorch.triton_cpu": 1,
    "tritorch.runtime": 2,
    "tritorch.triton_cpu.plugin": 2.5,
    "tritorch.kernels": 3,
    "tritorch.autograd": 3,
    # What the Tensor room is made of: semantics, operations, printing, indexing, saving.
    "tritorch.ops": 4,
    "tritorch.tensor": 4,
    "tritorch.notebook": 4,
    "tritorch.printing": 4,
    "tritorch.host": 4,
    "tritorch.dlpack": 4,
    "tritorch.indexing": 4,
    "tritorch.serialization": 4,
    "tritorch.safetensors": 4,
    "tritorch.amp": 4.5,
    "tritorch.compiler": 5.5,
    "tritorch.distributed": 0,
    "tritorch.jit": 5.5,
    "tritorch.absent_device": 0,
    "tritorch.cpu": 0,
    "tritorch.mps": 0,
    "tritorch.multiprocessing": 0,
    "tritorch.testing": 5.5,
    "tritorch.version": 6,
    "tritorch.xpu": 0,
    "tritorch.namespace": 4.5,
    "tritorch.cuda": 4.5,
    "tritorch.backends": 4.5,
    "tritorch.linalg": 4.5,
    "tritorch.special": 4.5,
    "tritorch.accelerator": 4.5,
    "tritorch.array_api": 4.5,
    "tritorch.nn": 5,
    "tritorch.distributions": 5.2,
    "tritorch.profiler": 5.2,
    "tritorch.optim": 5,
    "tritorch.utils": 5,
    "tritorch.tune": 5.8,
    "tritorch.func": 5.5,
    "tritorch.examples": 6,
    "tritorch.as_torch": 6,
    "tritorch.cli": 6,
    "tritorch.__main__": 7,
    "tritorch": 6,
}


def floor(module: str) -> float:
    """The floor of a dotted module name."""
    parts = module.split(".")
    while parts:
        known = FLOORS.get(".".join(parts))
        if known is not None:
            return known
        parts.pop()
    raise KeyError(module)


def sources() -> list[tuple[str, Path]]:
    """Module name and path of every product file."""
    found = []
    for folder, package in (
        ("tritorch", "tritorch"),
        ("kernels", "tritorch.kernels"),
        ("autograd", "tritorch.autograd"),
        ("nn", "tritorch.nn"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found.append((".".join([package, *[p for p in parts if p != "__init__"]]), path))
    return found


MODULES = {module for module, _ in sources()}


def imports(path: Path, at_import_time: bool) -> list[str]:
    """What a file imports: a module where the name is one of ours, else where it is taken from."""
    result: list[str] = []

    def visit(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import) and (top or not at_import_time):
                result.extend(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and (top or not at_import_time):
                assert child.level == 0, f"{path}: relative import; use absolute ones"
                assert child.module is not None
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    result.append(whole if whole in MODULES else child.module)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            else:
                inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                visit(child, top and not inner)

    visit(ast.parse(path.read_text()), True)
    return result


@pytest.mark.parametrize(("module", "path"), sources(), ids=lambda value: str(value).split("/")[-1])
def test_imports_go_downward(module: str, path: Path) -> None:
    """No import at module level reaches a higher floor.

    The bare package counts as the top floor, apart from programs' floors that stand on the whole.
    """
    own = floor(module)
    for target in imports(path, at_import_time=True):
        if target.split(".")[0] != "tritorch" or (target == "tritorch" and own >= 5):
            continue
        assert floor(target) <= own, f"{module} (floor {own}) imports {target} ({floor(target)})"


def test_no_product_file_imports_torch() -> None:
    """Law 2."""
    for module, path in sources():
        for target in imports(path, at_import_time=False):
            assert target.split(".")[0] != "torch", f"{module} imports torch"


def test_only_one_module_uses_tritons_private_api() -> None:
    """Only `triton_api` and the plug-in name `triton._C`, `.compiler`, `.backends`."""
    allowed = {
        "tritorch.triton_cpu.plugin",
        "tritorch.triton_api",
        "tritorch.triton_cpu.plugin.compiler",
        "tritorch.triton_cpu.plugin.driver",
    }
    for module, path in sources():
        if module in allowed:
            continue
        for target in imports(path, at_import_time=False):
            private = target.startswith(("triton._", "triton.compiler", "triton.backends"))
            assert not private, f"{module} imports {target}; go through tritorch.triton_api"


def test_no_c_sources() -> None:
    """Law 2: nothing to compile with a C compiler."""
    suffixes = {".c", ".cc", ".cpp", ".cu", ".h", ".hpp", ".cuh", ".pyx"}
    folders = ("tritorch", "kernels", "autograd", "nn", "tests", "bench")
    found = [p for f in folders for p in (ROOT / f).rglob("*") if p.suffix in suffixes]
    assert not found


def test_every_package_is_listed_for_the_wheel() -> None:
    """pyproject names each folder with an __init__.py exactly once."""
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = {m for m, path in sources() if path.name == "__init__.py"}
    packages |= {"tritorch.bench", "tritorch.bench.cases"}  # for `tritorch bench`
    assert sorted(listed) == sorted(packages)
