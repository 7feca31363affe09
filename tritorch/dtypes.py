"""dtypes and PyTorch's promotion rules. Interned objects, compared by identity."""

from __future__ import annotations

import builtins
from typing import Any, Final

import numpy as np


class dtype:
    """An element type.

    Attributes: `name` ("float32"), `itemsize` (bytes), `is_floating_point`, `is_complex`,
    `is_signed`, `triton` ("fp32"; a pointer to it is "*fp32"), `numpy` (the NumPy dtype),
    `category`
    (0 bool, 1 integer, 2 floating point: promotion never goes down a category), `compute` (the
    dtype in which kernels do arithmetic: float32 for float16 and bfloat16, itself otherwise).
    """

    __slots__ = (
        "_numpy", "category", "compute", "is_complex", "is_floating_point", "is_signed",
        "itemsize", "legacy_name", "name", "triton",
    )  # fmt: skip

    def __init__(
        self, name: str, triton: str, numpy: Any, category: int, signed: builtins.bool, legacy: str
    ) -> None:
        self.name = name
        self.triton = triton
        #: None for those that ml_dtypes has, until it is imported
        self._numpy: np.dtype[Any] | None = None if isinstance(numpy, int) else np.dtype(numpy)
        self.itemsize = numpy if self._numpy is None else self._numpy.itemsize
        self.category = category
        self.is_floating_point = category == 2
        self.is_complex = False
        self.is_signed = signed
        #: as in `tritorch.FloatTensor`, which PyTorch's messages and `Tensor.type()` use
        self.legacy_name = legacy
        self.compute: dtype = self

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype; for what NumPy lacks this imports ml_dtypes (5 ms)."""
        if self._numpy is None:
            import ml_dtypes

            self._numpy = np.dtype(getattr(ml_dtypes, self.name))
        return self._numpy

    def __repr__(self) -> str:
        # As PyTorch prints it: programs say `import tritorch as torch`, and their output stays the
        # same.
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


float32: Final = dtype("float32", "fp32", np.float32, 2, True, "FloatTensor")
float64: Final = dtype("float64", "fp64", np.float64, 2, True, "DoubleTensor")
float16: Final = dtype("float16", "fp16", np.float16, 2, True, "HalfTensor")
#: NumPy lacks these: bytes of an element instead
bfloat16: Final = dtype("bfloat16", "bf16", 2, 2, True, "BFloat16Tensor")
float8_e4m3fn: Final = dtype("float8_e4m3fn", "fp8e4nv", 1, 2, True, "Float8_e4m3fnTensor")
float8_e5m2: Final = dtype("float8_e5m2", "fp8e5", 1, 2, True, "Float8_e5m2Tensor")
int8: Final = dtype("int8", "i8", np.int8, 1, True, "CharTensor")
int16: Final = dtype("int16", "i16", np.int16, 1, True, "ShortTensor")
int32: Final = dtype("int32", "i32", np.int32, 1, True, "IntTensor")
int64: Final = dtype("int64", "i64", np.int64, 1, True, "LongTensor")
uint8: Final = dtype("uint8", "u8", np.uint8, 1, False, "ByteTensor")
uint16: Final = dtype("uint16", "u16", np.uint16, 1, False, "UInt16Tensor")
uint32: Final = dtype("uint32", "u32", np.uint32, 1, False, "UInt32Tensor")
uint64: Final = dtype("uint64", "u64", np.uint64, 1, False, "UInt64Tensor")
bool: Final = dtype("bool", "i1", np.bool_, 0, False, "BoolTensor")

for _low in (float16, bfloat16, float8_e4m3fn, float8_e5m2):
    _low.compute = float32

ALL: Final = (
    float32, float64, float16, bfloat16, float8_e4m3fn, float8_e5m2,
    int8, int16, int32, int64, uint8, uint16, uint32, uint64, bool,
)  # fmt: skip
BY_NAME: Final = {entry.name: entry for entry in ALL}
#: PyTorch's short names
ALIASES: Final = {
    "float": float32, "double": float64, "half": float16,
    "char": int8, "short": int16, "int": int32, "long": int64,
}  # fmt: skip
_BY_NUMPY: Final = {entry._numpy: entry for entry in ALL if entry._numpy is not None}

_FLOAT_RANK = {float8_e4m3fn: 0, float8_e5m2: 0, float16: 1, bfloat16: 1, float32: 2, float64: 3}


def from_numpy(kind: Any) -> dtype:
    """The dtype of a NumPy dtype; TypeError where there is none (complex, strings, objects)."""
    wanted = np.dtype(kind).newbyteorder("=")
    found = _BY_NUMPY.get(wanted) or BY_NAME.get(wanted.name)
    if found is None or found.numpy != wanted:
        raise TypeError(
            f"can't convert a NumPy array of dtype {np.dtype(kind)}. The supported ones are: "
            + ", ".join(BY_NAME)
            + "."
        )
    return found


_default = float32


def get_default_dtype() -> dtype:
    """The floating-point dtype of Python floats and of factories without `dtype=`."""
    return _default


def set_default_dtype(kind: dtype) -> None:
    """Set it to float32, float64, float16 or bfloat16."""
    global _default
    if kind not in (float32, float64, float16, bfloat16):
        raise TypeError(f"only floating-point types are supported as the default type; got {kind}.")
    _default = kind


_promoted: dict[tuple[dtype, dtype], dtype] = {}


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype that holds both, by PyTorch's lattice (integers with floats give the
    float).
    """
    if a is b:
        return a
    found = _promoted.get((a, b))
    if found is None:
        found = _promoted[a, b] = _promoted[b, a] = _promote(a, b)
    return found


def _promote(a: dtype, b: dtype) -> dtype:
    if a.category != b.category:
        return a if a.category > b.category else b
    if a.category == 2:
        rank_a, rank_b = _FLOAT_RANK[a], _FLOAT_RANK[b]
        if rank_a == rank_b:  # float16 with bfloat16 and the two float8 meet one floor up
            if rank_a == 0:
                raise RuntimeError(
                    "Promotion for Float8 Types is not supported, "
                    f"attempted to promote {a} and {b}."
                )
            return float32
        if min(rank_a, rank_b) == 0:
            raise RuntimeError(
                f"Promotion for Float8 Types is not supported, attempted to promote {a} and {b}."
            )
        return a if rank_a > rank_b else b
    if a.is_signed == b.is_signed:
        return a if a.itemsize > b.itemsize else b
    signed, unsigned = (a, b) if a.is_signed else (b, a)
    if unsigned.itemsize > 1:
        raise RuntimeError(
            f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
            f"{a} and {b}. Cast one of them first."
        )
    return int16 if signed.itemsize <= unsigned.itemsize else signed


class finfo:
    """Limits of a floating-point dtype: bits, eps, max, min, tiny, smallest_normal, resolution."""

    def __init__(self, kind: dtype | None = None) -> None:
        kind = kind or get_default_dtype()
        if not kind.is_floating_point:
            raise TypeError(f"finfo: needs a floating-point dtype, got {kind}. Use iinfo.")
        import ml_dtypes

        limits = ml_dtypes.finfo(kind.numpy)
        self.dtype = kind.name
        self.bits = kind.itemsize * 8
        self.eps = float(limits.eps)
        self.max = float(limits.max)
        self.min = float(limits.min)
        self.tiny = self.smallest_normal = float(limits.smallest_normal)
        self.resolution = 10.0**-limits.precision

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, "
            f"tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype: bits, max, min."""

    def __init__(self, kind: dtype) -> None:
        if kind.category != 1:
            raise TypeError(f"iinfo: needs an integer dtype, got {kind}. Use finfo.")
        limits = np.iinfo(kind.numpy)
        self.dtype = kind.name
        self.bits = limits.bits
        self.max = int(limits.max)
        self.min = int(limits.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"
