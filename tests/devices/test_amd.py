"""A kernel of each family compiles to machine code for AMD's GPUs; nothing runs it here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kernels.templates import test_gpu_compile as families
from tests.kernels.templates.test_gpu_compile import Recorder, recorder  # noqa: F401
from tritorch import triton_api

#: CDNA 3 (MI300)
ARCHITECTURE = "gfx942"


def hsaco(asked: families.Asked) -> bytes:
    code = triton_api.compile_gpu(
        asked.source, asked.signature, asked.constants, ("hip", ARCHITECTURE), asked.options
    )
    assert code.metadata["num_warps"] == asked.options.get("num_warps", 4)
    binary = code.assembly["hsaco"]
    assert isinstance(binary, bytes)
    return binary


@pytest.mark.parametrize(
    "family",
    [families.plan_softmax, families.plan_matmul, families.plan_layer_norm, families.plan_topk,
     families.plan_attention, families.plan_embedding, families.plan_concat,
     families.plan_batch_norm],
    ids=lambda family: family.__name__[5:],
)  # fmt: skip
def test_compiles_for_amd(family: Callable[[], None], recorder: Recorder) -> None:  # noqa: F811
    family()
    for asked in recorder.kernels[:3]:
        binary = hsaco(asked)
        # An ELF file of the machine EM_AMDGPU (224) that holds the kernel.
        assert binary[:4] == b"\x7fELF" and int.from_bytes(binary[18:20], "little") == 224
        assert asked.source.name.encode() in binary
