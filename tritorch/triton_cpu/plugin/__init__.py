"""The CPU as an out-of-tree Triton backend: a plain `@triton.jit` kernel runs on NumPy arrays.

Triton finds it through the entry point group `triton.backends`. It is chosen by itself where Triton
sees no GPU; elsewhere set TRITON_DEFAULT_BACKEND=cpu (Triton 3.9), or call `activate()`.

Triton imports `compiler` and `driver` while it is half imported itself, so their module level takes
only `triton.backends.compiler` and `triton.backends.driver` from it.
"""

from __future__ import annotations


def activate() -> None:
    """Launch Triton kernels on the CPU from now on, whatever GPUs there are.

    Works in a checkout that is not installed too, where Triton finds no entry point.
    """
    import triton
    from triton.backends import Backend, backends

    from tritorch.triton_cpu.plugin.compiler import CPUBackend
    from tritorch.triton_cpu.plugin.driver import CPUDriver

    backends.setdefault("cpu", Backend(compiler=CPUBackend, driver=CPUDriver))
    triton.runtime.driver.set_active(CPUDriver())
