"""Intel's tile instructions (AMX), one function each, and the one tile configuration that we use.

Eight registers `tmm0` ... `tmm7` hold tiles of up to 16 rows of 64 bytes. One instruction adds the
product of two tiles to a third:

    C[16, 16] (float32 or int32) += A[16 rows, 16 words] B[16 words, 16 columns]

where a word is two bfloat16 or four int8 along K (`words`): K = 32 or 64.

We configure all eight tiles whole, so one configuration serves every product of a kernel. It is
loaded when the kernel is entered and released when it is left: the state belongs to the thread,
each thread of a pool enters for itself, and one that released its tiles costs nothing at a context
switch. Products that do not fill a tile go the ordinary way (see `tile_product.fits`).

The forms with immediate register numbers are emitted, not LLVM's typed tiles (`x86_amx`): those
need passes of their own that place configurations, and nothing has to be spilled here.

Whether the CPU has the instructions says `CPUTarget`; whether the system lets us, `tiles`.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18, and
    volume 2 under the instructions' names.
"""

from __future__ import annotations

from tritorch.triton_cpu.codegen.builder import Builder

#: a tile: rows, words (or columns of 32 bits) in a row, bytes in a row
ROWS = WORDS = 16
ROW_BYTES = 4 * WORDS
TILES = 8

_CONFIGURATION = "tile_configuration"
#: element of A and B -> instruction
_PRODUCTS = {"bf16": "tdpbf16ps", "i8": "tdpbssd"}
#: element of A and B -> CPU feature
FEATURES = {"bf16": "amx-bf16", "i8": "amx-int8"}


def configuration() -> bytes:
    """What `ldtilecfg` reads: palette 1, the first row, and of each tile the bytes in a row (16
    bits, from byte 16 on) and the rows (8 bits, from byte 48 on)."""
    columns = b"".join(ROW_BYTES.to_bytes(2, "little") for _ in range(TILES))
    rows = bytes([ROWS] * TILES)
    return b"\1".ljust(16, b"\0") + columns.ljust(32, b"\0") + rows.ljust(16, b"\0")


def open_tiles(builder: Builder) -> str:
    """The line that makes the thread's tiles ours (their contents are zeros then)."""
    text = "".join(f"\\{byte:02X}" for byte in configuration())
    builder.helpers[_CONFIGURATION] = (
        f'@{_CONFIGURATION} = private unnamed_addr constant [64 x i8] c"{text}", align 64'
    )
    builder.declarations.add("declare void @llvm.x86.ldtilecfg(ptr)")
    return f"  call void @llvm.x86.ldtilecfg(ptr @{_CONFIGURATION})"


def close_tiles(builder: Builder) -> str:
    """The line that gives them back."""
    builder.declarations.add("declare void @llvm.x86.tilerelease()")
    return "  call void @llvm.x86.tilerelease()"


def clear(builder: Builder, tile: int) -> None:
    builder.call("llvm.x86.tilezero", "void", ("i8", str(tile)))


def load(builder: Builder, tile: int, place: str, stride: int | str) -> None:
    """16 rows of 64 bytes, `stride` bytes apart."""
    builder.call(
        "llvm.x86.tileloadd64", "void", ("i8", str(tile)), ("ptr", place), ("i64", str(stride))
    )


def store(builder: Builder, tile: int, place: str, stride: int | str) -> None:
    builder.call(
        "llvm.x86.tilestored64", "void", ("i8", str(tile)), ("ptr", place), ("i64", str(stride))
    )


def multiply_add(builder: Builder, element: str, c: int, a: int, b: int) -> None:
    """Tile c += tile a times tile b.

    bfloat16: products of even and of odd elements of K are summed apart, in float32, and added to C
    at the end of the instruction; denormals count as zeros, inputs and results. int8: sums wrap.
    """
    name = f"llvm.x86.{_PRODUCTS[element]}"
    builder.call(name, "void", *(("i8", str(tile)) for tile in (c, a, b)))
