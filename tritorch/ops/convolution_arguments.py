"""What users say of a convolution, checked, as a geometry; the errors are PyTorch's and advise."""

from __future__ import annotations

from typing import Any, NamedTuple

from tritorch.dtypes import bool as boolean
from tritorch.errors import DtypeError, ShapeError
from tritorch.kernels.templates.convolution import Geometry
from tritorch.layout import Layout, Shape
from tritorch.ops.promotion import common_device


class Arguments(NamedTuple):
    """A call of `name`, over `rank` dimensions."""

    name: str
    rank: int
    input: Layout
    weight: Layout
    bias: Layout | None
    stride: Any
    padding: Any
    dilation: Any
    groups: int

    def each(self, what: str, value: Any) -> Shape:
        """A number per dimension, from one for all or from a sequence."""
        given = [value] if isinstance(value, int) else list(value)
        if len(given) == 1:
            given *= self.rank
        if len(given) != self.rank:
            raise ShapeError(
                f"{self.name}: expected {what} to be a single integer value or a list of "
                f"{self.rank} values to match the convolution dimensions, but got "
                f"{what}={list(given)}. Give {self.rank} numbers."
            )
        return tuple(int(number) for number in given)

    def steps(self) -> tuple[Shape, Shape]:
        """Stride and dilation."""
        stride, dilation = self.each("stride", self.stride), self.each("dilation", self.dilation)
        if min(stride) <= 0:
            raise ShapeError(
                f"{self.name}: non-positive stride is not supported, got {list(stride)}. Give at "
                "least 1."
            )
        if min(dilation) <= 0:
            raise ShapeError(
                f"{self.name}: dilation should be greater than zero, got {list(dilation)}. Give at "
                "least 1."
            )
        return stride, dilation

    def paddings(self) -> Shape:
        padding = self.each("padding", self.padding)
        if min(padding) < 0:
            raise ShapeError(
                f"{self.name}: negative padding is not supported, got {list(padding)}. Cut the "
                "input with slices instead."
            )
        return padding

    def check(self, transposed: bool) -> None:
        """Ranks, dtypes, channels and bias."""
        x, w, b, name, rank = self.input, self.weight, self.bias, self.name, self.rank
        if x.ndim not in (rank + 1, rank + 2):
            raise ShapeError(
                f"{name}: Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to "
                f"{name}, but got input of size: {list(x.shape)}. Insert or remove dimensions with "
                "unsqueeze or reshape."
            )
        if w.ndim != rank + 2:
            raise ShapeError(
                f"{name}: expected a {rank + 2}-dimensional weight, but got weight of size "
                f"{list(w.shape)}. Its dimensions are channels, channels / groups and the kernel's."
            )
        common_device(name, [x, w, *([b] if b else [])])
        if x.dtype is not w.dtype or (b is not None and b.dtype is not x.dtype):
            other, what = (w, "weight") if x.dtype is not w.dtype else (b, "bias")
            assert other is not None
            raise DtypeError(
                f"{name}: Input type ({x.dtype}) and {what} type ({other.dtype}) should be the "
                "same. Cast one with .to(dtype)."
            )
        if x.dtype is boolean:
            raise DtypeError(
                f"{name}: not implemented for {x.dtype}. Convert input and weight with .float()."
            )
        self._check_channels(transposed)

    def _check_channels(self, transposed: bool) -> None:
        x, w, b, groups, name = self.input, self.weight, self.bias, self.groups, self.name
        if groups <= 0:
            raise ShapeError(f"{name}: non-positive groups is not supported, got {groups}.")
        if w.shape[0] < groups:
            raise ShapeError(
                f"{name}: Given groups={groups}, expected weight to be at least {groups} at "
                f"dimension 0, but got weight of size {list(w.shape)} instead. Use fewer groups."
            )
        if w.shape[0] % groups:
            raise ShapeError(
                f"{name}: Given groups={groups}, expected weight to be divisible by {groups} at "
                f"dimension 0, but got weight of size {list(w.shape)} instead. Use another number "
                "of groups."
            )
        channels = x.shape[-self.rank - 1]
        wanted = w.shape[0] if transposed else w.shape[1] * groups
        if channels != wanted:
            kind = "transposed=1" if transposed else f"groups={groups}"
            raise ShapeError(
                f"{name}: Given {kind}, weight of size {list(w.shape)}, expected "
                f"input{list(x.shape)} to have {wanted} channels, but got {channels} channels "
                "instead. Change the input's channels, the weight or groups."
            )
        outputs = w.shape[1] * groups if transposed else w.shape[0]
        if b is not None and b.shape != (outputs,):
            raise ShapeError(
                f"{name}: Given weight of size {list(w.shape)}, expected bias to be "
                f"1-dimensional with {outputs} elements, but got bias of size {list(b.shape)} "
                "instead. Reshape it."
            )

    @property
    def sizes(self) -> Shape:
        """Of the input's spatial dimensions."""
        return self.input.shape[-self.rank :]

    @property
    def kernel(self) -> Shape:
        return self.weight.shape[2:]


def _times(sizes: Shape) -> str:
    return " x ".join(map(str, sizes))


def convolution_geometry(call: Arguments) -> Geometry:
    """Of a convolution."""
    call.check(transposed=False)
    stride, dilation = call.steps()
    reach = tuple(d * (k - 1) for d, k in zip(dilation, call.kernel))
    if isinstance(call.padding, str):
        if call.padding not in ("same", "valid"):
            raise ShapeError(
                f"{call.name}: Invalid padding string: '{call.padding}', should be one of 'valid', "
                "'same'. Give one of these or numbers."
            )
        if call.padding == "same" and max(stride) > 1:
            raise ShapeError(
                f"{call.name}: padding='same' is not supported for strided convolutions, got "
                f"stride {list(stride)}. Give the padding in numbers."
            )
        same = call.padding == "same"
        before = tuple(r // 2 if same else 0 for r in reach)
        frame = reach if same else (0,) * call.rank
    else:
        before = call.paddings()
        frame = tuple(2 * p for p in before)
    padded = tuple(i + f for i, f in zip(call.sizes, frame))
    if any(p < r + 1 for p, r in zip(padded, reach)):
        raise ShapeError(
            f"{call.name}: Calculated padded input size per channel: ({_times(padded)}). Kernel "
            f"size: ({_times(tuple(r + 1 for r in reach))}). Kernel size can't be greater than "
            "actual input size. Pad the input, or use a smaller kernel."
        )
    output = tuple((p - r - 1) // s + 1 for p, r, s in zip(padded, reach, stride))
    return Geometry(call.kernel, stride, before, dilation, call.groups, call.sizes, output)


def transposed_geometry(call: Arguments, output_padding: Any) -> Geometry:
    """Of the convolution whose transpose is asked for: its output is the call's input."""
    call.check(transposed=True)
    stride, dilation = call.steps()
    padding, extra = call.paddings(), call.each("output_padding", output_padding)
    if min(extra) < 0:
        raise ShapeError(
            f"{call.name}: negative output_padding is not supported, got {list(extra)}."
        )
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ShapeError(
            f"{call.name}: output padding must be smaller than either stride or dilation, but got "
            f"output_padding {list(extra)}, stride {list(stride)}, dilation {list(dilation)}. Use "
            "a smaller one."
        )
    sizes = tuple(
        (i - 1) * s - 2 * p + d * (k - 1) + e + 1
        for i, s, p, d, k, e in zip(call.sizes, stride, padding, dilation, call.kernel, extra)
    )
    if min(sizes) <= 0:
        raise ShapeError(
            f"{call.name}: Given input size per channel: ({_times(call.sizes)}). Calculated output "
            f"size per channel: ({_times(sizes)}). Output size is too small. Use less padding."
        )
    return Geometry(call.kernel, stride, padding, dilation, call.groups, sizes, call.sizes)
