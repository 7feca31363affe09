"""tritorch: PyTorch's define-by-run experience on Triton kernels alone."""

import builtins
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# In a wheel kernels/, autograd/ and nn/ are inside this folder; in a checkout they are its
# siblings.
if not (Path(__file__).parent / "kernels").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tritorch.namespace import *  # noqa: F403

#: modules that programs use as attributes; they are imported when they are first needed
_MODULES = (
    "accelerator", "amp", "array_api", "backends", "compiler", "cpu", "cuda", "distributed",
    "distributions", "examples", "func", "jit", "linalg", "mps", "multiprocessing", "nn", "optim",
    "profiler", "safetensors", "special", "testing", "tune", "utils", "version", "xpu",
)  # fmt: skip
#: functions of modules that few programs need
_FUNCTIONS = {
    "compile": "tritorch.compiler",
    "get_device_module": "tritorch.accelerator",
    "set_default_tensor_type": "tritorch.ops.placement",
    "summary": "tritorch.nn.summary",
    "vmap": "tritorch.func",
    "get_float32_matmul_precision": "tritorch.backends",
    "set_float32_matmul_precision": "tritorch.backends",
}
#: modules that the rooms below import from here (`from tritorch import dtypes`) before it has names
_GROUND = frozenset({"determinism", "devices", "dtypes", "errors", "runtime", "triton_api"})
_loading = False


def _load() -> None:
    """Fill this module with the public names."""
    global _loading
    _loading = True
    try:
        namespace = import_module("tritorch.namespace")
    finally:
        _loading = False
    globals().update({k: v for k, v in vars(namespace).items() if not k.startswith("_")})
    globals()["_int_mm"] = namespace._int_mm  # PyTorch's name for it
    if namespace.config.tune == "on-first-call":
        import_module("tritorch.tune")  # kernels ask it


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'tritorch' has no attribute {name!r}")
    if (
        name in _GROUND
    ):  # a room below is being imported on its own: it must not wait for all others
        return import_module(f"tritorch.{name}")
    if not _loading and "Tensor" not in globals():
        _load()
        if name in globals():
            return globals()[name]
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    try:
        if _loading or name in _MODULES:
            return import_module(f"tritorch.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"tritorch.{name}":
            raise
    raise AttributeError(f"module 'tritorch' has no attribute {name!r}")


def _is_command() -> builtins.bool:
    """Whether this process is `tritorch ...` or `python -m tritorch ...`."""
    name = Path(sys.argv[0]).stem if sys.argv else ""
    if name != "-m":
        return name == "tritorch"
    given = sys.orig_argv
    return given[given.index("-m") + 1 :][:1] == ["tritorch"] if "-m" in given else False


# Triton imports the CPU backend from this package whenever it is imported itself, while it is half
# done. Programs that only want Triton should not wait for our names: they are loaded when the first
# one is asked for; so they are for the command, which says in one line what keeps it from loading
# them. Everyone else gets them now.
_half_triton = "triton" in sys.modules and not hasattr(sys.modules["triton"], "jit")
if not (_half_triton or _is_command()):
    _load()
