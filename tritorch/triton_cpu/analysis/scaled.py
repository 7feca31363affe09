"""Products of microscaled operands (`tl.dot_scaled`) rewritten as ordinary operations.

An operand of 4 or 8 bits becomes float32, times two to the power that its scale says for every
group along the inner dimension; then it is a product of float32. All of that is exact, so the
result is at least as good as the bfloat16 that GPUs without such instructions use.

Format: OCP Microscaling Formats (MX) specification 1.0.
"""

from __future__ import annotations

from tritorch.errors import UnsupportedOperation
from tritorch.triton_cpu.analysis.rewriting import insert, replace_uses
from tritorch.triton_cpu.analysis.shapes import walk_operations
from tritorch.triton_cpu.ir import Block, Operation, Type, Value

#: Triton's numbers of operand formats: those that are converted as they are, and pairs of 4 bits
_CONVERTED = {0: "f8E4M3FN", 1: "f8E5M2", 5: "bf16", 6: "f16"}
_PAIRS = 4


def expand_scaled_products(blocks: list[Block]) -> None:
    """Rewrite every `tt.dot_scaled` under these blocks."""
    for operation in list(walk_operations(blocks)):
        if operation.name == "tt.dot_scaled":
            _Expansion(operation).rewrite()


class _Expansion:
    """Emits the operations that stand for one product, before it."""

    def __init__(self, product: Operation) -> None:
        assert product.block is not None
        self.product = product
        self.block = product.block

    def rewrite(self) -> None:
        product = self.product
        attributes = product.attributes
        a, b, c, *scales = product.operands
        has_a_scale, has_b_scale = (bool(n) for n in attributes["operandSegmentSizes"][3:])
        a_scale = scales.pop(0) if has_a_scale else None
        b_scale = scales.pop(0) if has_b_scale else None
        inner = len(a.type.shape or ()) - 1
        a = self._numbers(a, attributes["a_elem_type"], attributes["lhs_k_pack"], inner)
        b = self._numbers(b, attributes["b_elem_type"], not attributes["rhs_k_pack"], inner)
        if a_scale is not None:
            a = self._scaled(a, a_scale, transposed=False)
        if b_scale is not None:
            b = self._scaled(b, b_scale, transposed=True)
        result = product.results[0]
        exact: dict[str, object] = {"inputPrecision": 2, "maxNumImpreciseAcc": 0}
        replace_uses(result, insert(self.block, product, "tt.dot", [a, b, c], result.type, exact))
        self.block.operations.remove(product)
        for operand in product.operands:
            operand.uses.remove(product)

    def _op(
        self,
        name: str,
        operands: list[Value],
        shape: tuple[int, ...],
        element: str,
        **others: object,
    ) -> Value:
        return insert(self.block, self.product, name, operands, Type(shape, element), others)

    def _constant(self, value: float, like: Value) -> Value:
        shape = like.type.shape or ()
        return self._op("arith.constant", [], shape, like.type.element, value=value)

    def _numbers(self, operand: Value, kind: int, along_last: bool, inner: int) -> Value:
        """The operand as float32; `along_last`: pairs of 4 bits are neighbours in the last
        dimension, else in the one before.
        """
        shape = operand.type.shape or ()
        if kind == _PAIRS:
            return self._unpacked(operand, along_last, inner)
        element = _CONVERTED.get(kind)
        if element is None:
            raise UnsupportedOperation(
                "tl.dot_scaled: operands of 6 bits are not available on CPUs. Use e2m1, e4m3, e5m2,"
                " bf16 or fp16."
            )
        if operand.type.element == "i8":
            operand = self._op("tt.bitcast", [operand], shape, element)
        return self._op("tt.fp_to_fp", [operand], shape, "f32")

    def _unpacked(self, operand: Value, along_last: bool, inner: int) -> Value:
        shape = operand.type.shape or ()
        word = self._op("arith.extui", [operand], shape, "i32")
        high = self._op("arith.shrui", [word, self._constant(4, word)], shape, "i32")
        low, high = (self._from_four_bits(bits) for bits in (word, high))
        joined = self._op("tt.join", [low, high], (*shape, 2), "f32")
        if along_last:
            return self._op("tt.reshape", [joined], (*shape[:-1], 2 * shape[-1]), "f32")
        order = [*range(inner), inner + 1, inner]
        turned = self._op("tt.trans", [joined], (*shape[:-1], 2, shape[-1]), "f32", order=order)
        return self._op(
            "tt.reshape", [turned], (*shape[:-2], 2 * shape[-2], shape[-1]), "f32"
        )  # fmt: skip

    def _from_four_bits(self, word: Value) -> Value:
        """E2M1, the lowest four bits: shifted to float32's places, then the exponent's bias made
        up for by a multiplication, which also makes the one denormal right.
        """
        shape = word.type.shape or ()

        def op(name: str, a: Value, b: int) -> Value:
            return self._op(f"arith.{name}", [a, self._constant(b, a)], shape, "i32")

        size = op("shli", op("andi", word, 7), 22)
        sign = op("shli", op("andi", word, 8), 28)
        number = self._op("tt.bitcast", [size], shape, "f32")
        number = self._op("arith.mulf", [number, self._constant(2.0**126, number)], shape, "f32")
        bits = self._op("tt.bitcast", [number], shape, "i32")
        bits = self._op("arith.ori", [bits, sign], shape, "i32")
        return self._op("tt.bitcast", [bits], shape, "f32")

    def _scaled(self, operand: Value, scale: Value, transposed: bool) -> Value:
        """The operand times its scales, [..., rows, groups]; `transposed`: its inner dimension is
        the one before the last.
        """
        shape = operand.type.shape or ()
        rows = (*shape[:-2], shape[-1], shape[-2]) if transposed else shape
        groups = scale.type.shape or ()
        power = self._op("tt.expand_dims", [self._power(scale)], (*groups, 1), "f32",
                         axis=len(groups))  # fmt: skip
        group = rows[-1] // groups[-1]
        power = self._op("tt.broadcast", [power], (*groups, group), "f32")
        power = self._op("tt.reshape", [power], rows, "f32")
        if transposed:
            order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            power = self._op("tt.trans", [power], shape, "f32", order=order)
        return self._op("arith.mulf", [operand, power], shape, "f32")

    def _power(self, scale: Value) -> Value:
        """E8M0: 2^(byte - 127), nan for 255; GPUs' other scales are 8-bit floats."""
        shape = scale.type.shape or ()
        if scale.type.element != "i8":
            return self._op("tt.fp_to_fp", [scale], shape, "f32")
        word = self._op("arith.extui", [scale], shape, "i32")
        bits = self._op("arith.shli", [word, self._constant(23, word)], shape, "i32")
        # the smallest, 2^-127, is a denormal; the largest means nan
        smallest, nan = self._constant(1 << 22, bits), self._constant(0x7FC00000, bits)
        for byte, value in ((0, smallest), (255, nan)):
            found = self._op(
                "arith.cmpi", [word, self._constant(byte, word)], shape, "i1", predicate=0
            )
            bits = self._op("arith.select", [found, value, bits], shape, "i32")
        return self._op("tt.bitcast", [bits], shape, "f32")
