"""Kernels that operations plan for GPUs compile to cubins: a sample (see `gpu_kernels` for all)."""

from __future__ import annotations

from tests.devices.gpu_kernels import ARCHITECTURES, Needs, compiled, planned

#: one of each kind of kernel; the templates have a test of their own
NAMES = ("atan2", "where", "var", "logsumexp", "cumsum", "F.gelu", "randn", "lerp", "F.dropout")
#: of shared memory, that a block may have on the smallest of the architectures
SHARED_BYTES = 163 << 10


def test_operations_compile_for_gpus() -> None:
    wrong, seen = [], set()
    for kernel, found in compiled(planned(NAMES)):
        if not isinstance(found, Needs):
            wrong.append(found)
            continue
        seen.add(found.architecture)
        assert 0 < found.registers <= 255, kernel.name
        assert found.shared_bytes <= SHARED_BYTES, kernel.name
        assert found.stack_bytes < 1024, kernel.name
    assert not wrong, "\n".join(wrong)
    assert seen == set(ARCHITECTURES)
