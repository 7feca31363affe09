"""PyTorch's legacy types of tensors on GPUs."""

from __future__ import annotations

from tritorch import dtypes
from tritorch.ops.queries import legacy_type

FloatTensor = legacy_type(dtypes.float32, "cuda")
DoubleTensor = legacy_type(dtypes.float64, "cuda")
HalfTensor = legacy_type(dtypes.float16, "cuda")
BFloat16Tensor = legacy_type(dtypes.bfloat16, "cuda")
ByteTensor = legacy_type(dtypes.uint8, "cuda")
CharTensor = legacy_type(dtypes.int8, "cuda")
ShortTensor = legacy_type(dtypes.int16, "cuda")
IntTensor = legacy_type(dtypes.int32, "cuda")
LongTensor = legacy_type(dtypes.int64, "cuda")
BoolTensor = legacy_type(dtypes.bool, "cuda")
