"""The compiler half of the Triton backend: stages ttir -> llir -> obj."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triton.backends.compiler import BaseBackend


class CPUBackend(BaseBackend):
    """Compiles for the machine it runs on; Triton keeps the results in its own cache."""

    binary_ext = "obj"

    @staticmethod
    def supports_target(target: Any) -> bool:
        return bool(target.backend == "cpu")

    def hash(self) -> str:
        from tritorch.config import config
        from tritorch.triton_cpu.cache import code_digest
        from tritorch.triton_cpu.llvm import binding_version
        from tritorch.triton_cpu.target import host

        parts = (
            code_digest(), binding_version(), host().fingerprint, config.codegen_key(),
            f"debug={config.debug}",
        )  # fmt: skip
        return "tritorch-cpu-" + "-".join(parts)

    def parse_options(self, options: dict[str, Any]) -> Any:
        from tritorch.triton_api import CPUOptions

        return CPUOptions(**{name: value for name, value in options.items() if value is not None})

    def pack_metadata(self, metadata: Any) -> tuple[Any, ...]:
        return (metadata.num_warps, metadata.num_ctas, metadata.shared)

    def get_codegen_implementation(self, options: Any) -> dict[str, Any]:
        from tritorch.triton_api import codegen_functions

        return codegen_functions()

    def get_module_map(self) -> dict[str, Any]:
        from tritorch.triton_api import module_map

        return module_map()

    def load_dialects(self, context: Any) -> None:
        """Triton's own dialects are enough."""

    @staticmethod
    def get_tensor_specialization(_argument: Any, **_options: Any) -> str:
        """Alignment changes nothing in our code, so it makes no variants."""
        return ""

    supports_native_tensor_specialization = False

    def add_stages(
        self, stages: dict[str, Callable[..., Any]], options: Any, language: Any = None
    ) -> None:
        from tritorch.triton_api import run_cpu_passes

        stages["ttir"] = lambda module, _metadata: run_cpu_passes(module)
        stages["llir"] = self._llvm_text
        stages["obj"] = lambda text, metadata: self._object(text, metadata, options)

    def _llvm_text(self, module: Any, metadata: dict[str, Any]) -> str:
        from tritorch.config import config
        from tritorch.triton_api import generic_text
        from tritorch.triton_cpu.compile import generate_llvm
        from tritorch.triton_cpu.target import host

        name = module.get_entry_func_name()
        text, types = generate_llvm(
            generic_text(module), name, None, host(), config.debug == "bounds"
        )
        metadata.update(name=name, shared=0, parameter_types=list(types))
        return text

    def _object(self, text: str, metadata: dict[str, Any], options: Any) -> bytes:
        from tritorch.triton_cpu.llvm import compile_object
        from tritorch.triton_cpu.target import host

        pipeline = getattr(options, "pipeline", "default")
        return compile_object(text, host(), pipeline, metadata["name"])
