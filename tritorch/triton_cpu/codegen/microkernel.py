"""The register kernel of products, an internal function in `builder.helpers`.

rows x vectors sums over the whole of K (unrolled by 4) of broadcast elements of a packed panel of A
and vectors of packed B.
"""

from __future__ import annotations

from tritorch.triton_cpu.codegen import pairs, quads
from tritorch.triton_cpu.codegen.builder import BITS, LLVM_TYPE, Builder
from tritorch.triton_cpu.codegen.operand import Rows, prefetch
from tritorch.triton_cpu.codegen.packing import parts_of_rows
from tritorch.triton_cpu.codegen.product import Product

#: The register kernel asks for B so many steps of K ahead.
AHEAD = 8
#: And for what it copies, which comes from beyond the second-level cache.
COPY_AHEAD = 64

KERNEL_PARAMETERS = [
    ("ptr noalias readonly", "%a"),
    ("ptr noalias readonly", "%b"),
    ("ptr noalias", "%c"),
    ("i64", "%stride"),
    ("i64", "%steps"),
]
PACK_PARAMETERS = [("i64", "%b_step"), ("ptr noalias", "%packed")]
START_PARAMETERS = [("ptr", "%start"), ("i64", "%start_stride")]
COPY_PARAMETERS = [("ptr noalias readonly", "%from"), ("i64", "%from_step"), ("ptr noalias", "%to")]
AHEAD_PARAMETERS = [("ptr", "%ahead"), ("i64", "%ahead_step"), ("i64", "%ahead_row")]
NEXT_PARAMETERS = [("ptr", "%next"), ("i64", "%next_step"), ("i64", "%next_row")]


def _suffix(product: Product) -> str:
    layout = f"{'rc'[product.a_dimension == 0]}{product.a_strides[product.a_dimension == 0]}"
    far = "p" * product.columns_first
    far += "b" * product.is_far(product.k * product.n) + "c" * product.is_far(product.m * product.n)
    kind = f"{product.compute}x{product.in_word}"
    return f"{kind}_{product.accumulator}_{layout}_{product.k}_{product.lanes}{far}"


def register_kernel(
    product: Product,
    builder: Builder,
    vectors: int,
    fetched: int = 0,
    may_replace: bool = False,
    starts: bool = False,
    copies: bool = False,
    following: int = 0,
    asks_c: bool = False,
    packs: bool = False,
) -> str:
    """The register kernel: `rows` x `vectors` accumulators over the whole of K.

    At each step of the loop `fetched` lines of A, a row apart, are asked for, and so many of the
    `following` product's B. If it `may_replace`, an argument says whether C is to be replaced; if
    it `starts`, by what an argument points to, and the sums. If it `copies`, a vector is copied now
    and then. If it `asks_c`, an argument is a tile of C, this one or the next, whose rows are asked
    for one after another; without, this one's are at once. If it `packs`, B is read where it lies,
    and packed for the tiles below.
    """
    flags = "r" * may_replace + "s" * starts + f"m{product.steps_for_copy}" * copies
    flags += "n" * asks_c + "w" * packs
    name = f"dot_kernel_{_suffix(product)}_{product.rows}x{vectors}_{fetched}_{following}{flags}"
    if name in builder.helpers:
        return name
    inner = builder.child()
    kind, element = inner.type(product.compute, product.lanes), LLVM_TYPE[product.compute]
    row_stride, column_stride = product.a_strides
    tile = [(i, v) for i in range(product.rows) for v in range(vectors)]
    align = product.bytes
    sum_kind = inner.type(product.sum_element, product.lanes)
    zero = "0.0" if product.sum_element[0] == "f" else "0"
    if product.lanes > 1:
        zero = "zeroinitializer"

    if product.is_far(product.m * product.n) and not asks_c:
        _prefetch_c(product, inner, vectors)
    begin = dict.fromkeys(range(vectors), zero)
    if product.quads:
        for v in range(vectors):
            at_sums = v * product.b_stride + product.k * product.lanes
            place = inner.define(f"getelementptr i32, ptr %b, i64 {at_sums}")
            found = inner.define(f"load {kind}, ptr {place}, align {align}")
            begin[v] = inner.define(f"sub {kind} zeroinitializer, {found}")
    start, done = inner.label("loop"), inner.label("done")
    rows_ahead = inner.define(f"mul i64 %b_step, {AHEAD}") if packs else ""
    inner.emit(f"br label %{start}")
    inner.start(start)
    counter, a, b, ahead, beyond, packed = (inner.register() for _ in range(6))
    sums = {place: inner.register() for place in tile}
    names = (counter, a, b, ahead, beyond, packed, *sums.values())
    phis = {name: inner.reserve() for name in names}

    def at(pointer: str, offset: int, scalar: str = element) -> str:
        if offset == 0:
            return pointer
        return inner.define(f"getelementptr {scalar}, ptr {pointer}, i64 {offset}")

    partial = dict(sums)
    if copies:
        _copy_in_turn(product, inner, counter)
    place = ahead
    for line in range(fetched):
        if line:
            place = inner.define(f"getelementptr i8, ptr {place}, i64 %ahead_row")
        prefetch(inner, place, write=False)
    if asks_c:
        _prefetch_row_of_c(product, inner, vectors, counter)
    place = beyond
    for line in range(following):
        if line:
            place = inner.define(f"getelementptr i8, ptr {place}, i64 %next_row")
        prefetch(inner, place, write=False, near=2)
    row_of_b = b
    for u in range(product.unroll):
        right = []
        for v in range(vectors):
            in_panel = v * product.b_stride + u * product.lanes
            place = at(row_of_b, v * product.lanes) if packs else at(b, in_panel)
            right.append(inner.define(f"load {kind}, ptr {place}, align {align}"))
            if packs:
                inner.emit(f"store {kind} {right[v]}, ptr {at(packed, in_panel)}, align {align}")
                place = inner.define(f"getelementptr i8, ptr {place}, i64 {rows_ahead}")
                prefetch(inner, place, write=False)
            elif not product.columns_first and product.is_far(product.k * product.n):
                later = at(b, v * product.b_stride + (u + AHEAD) * product.lanes)
                prefetch(inner, later, write=False)
        for i in range(product.rows):
            place = at(a, i * row_stride + u * column_stride)
            scalar = inner.define(f"load {element}, ptr {place}, align {align}")
            left = inner.splat(scalar, product.compute, product.lanes)
            for v in range(vectors):
                partial[i, v] = _multiply_add(product, inner, left, right[v], partial[i, v])
        if packs:
            row_of_b = inner.define(f"getelementptr i8, ptr {row_of_b}, i64 %b_step")
    next_a = at(a, product.unroll * column_stride)
    next_b = row_of_b if packs else at(b, product.unroll * product.lanes)
    next_packed = at(packed, product.unroll * product.lanes) if packs else "null"
    next_ahead = "null"
    if fetched:
        next_ahead = inner.define(f"getelementptr i8, ptr {ahead}, i64 %ahead_step")
    next_beyond = "null"
    if following:
        next_beyond = inner.define(f"getelementptr i8, ptr {beyond}, i64 %next_step")
    after = inner.define(f"add nuw nsw i64 {counter}, {product.unroll}")
    again = inner.define(f"icmp ult i64 {after}, %steps")
    inner.emit(f"br i1 {again}, label %{start}, label %{done}")
    last = inner.block
    loop = [
        (counter, "i64", "0", after),
        (a, "ptr", "%a", next_a),
        (b, "ptr", "%b", next_b),
        (ahead, "ptr", "%ahead" if fetched else "null", next_ahead),
        (beyond, "ptr", "%next" if following else "null", next_beyond),
        (packed, "ptr", "%packed" if packs else "null", next_packed),
        *((sums[place], sum_kind, begin[place[1]], partial[place]) for place in tile),
    ]
    for register, what, initial, updated in loop:
        inner.lines[phis[register]] = (
            f"  {register} = phi {what} [ {initial}, %entry ], [ {updated}, %{last} ]"
        )
    inner.start(done)
    if may_replace:
        replace, add = inner.label("replace"), inner.label("add")
        inner.emit(f"br i1 %is_first, label %{replace}, label %{add}")
        inner.start(replace)
        _put(product, inner, vectors, partial, Rows("%start", "%start_stride") if starts else None)
        inner.emit("ret void")
        inner.start(add)
    _put(product, inner, vectors, partial, Rows("%c", "%stride"))
    inner.emit("ret void")
    parameters = [*KERNEL_PARAMETERS, *([("i1", "%is_first")] if may_replace else [])]
    parameters = [*parameters, *(START_PARAMETERS if starts else [])]
    parameters = [*parameters, *(AHEAD_PARAMETERS if fetched else [])]
    parameters = [*parameters, *(NEXT_PARAMETERS if following else [])]
    parameters = [*parameters, *([("ptr", "%asked_c")] if asks_c else [])]
    parameters = [*parameters, *(PACK_PARAMETERS if packs else [])]
    parameters = [*parameters, *(COPY_PARAMETERS if copies else [])]
    builder.helpers[name] = inner.function(name, "void", parameters)
    return name


def _copy_in_turn(product: Product, builder: Builder, counter: str) -> None:
    """Copy a vector of the next panel of A every `steps_for_copy` inner elements."""
    every = product.steps_for_copy
    if every > product.unroll:
        copy, go_on = builder.label("copy"), builder.label("go_on")
        phase = builder.define(f"and i64 {counter}, {every - 1}")
        is_due = builder.define(f"icmp eq i64 {phase}, 0")
        builder.emit(f"br i1 {is_due}, label %{copy}, label %{go_on}")
        builder.start(copy)
    column = builder.define(f"lshr i64 {counter}, {every.bit_length() - 1}")
    offset = builder.define(f"mul i64 {column}, %from_step")
    source = builder.define(f"getelementptr i8, ptr %from, i64 {offset}")
    element, align = LLVM_TYPE[product.compute], product.bytes
    whole = builder.type(product.compute, product.panel_rows)
    moved = builder.define(f"load {whole}, ptr {source}, align {align}")
    to = builder.define(f"mul i64 {column}, {product.rows}")
    part = builder.type(product.compute, product.rows)
    for inside, rows in parts_of_rows(product, builder, moved):
        place = builder.integer("add", to, product.part(inside))
        place = builder.define(f"getelementptr {element}, ptr %to, i64 {place}")
        builder.emit(f"store {part} {rows}, ptr {place}, align {align}")
    distance = builder.define(f"mul i64 %from_step, {max(COPY_AHEAD // every, 1)}")
    later = builder.define(f"getelementptr i8, ptr {source}, i64 {distance}")
    for line in range(0, product.panel_rows * product.bytes, product.target.vector_bytes):
        place = builder.define(f"getelementptr i8, ptr {later}, i64 {line}")
        prefetch(builder, place, write=False, near=2)
    if every > product.unroll:
        builder.emit(f"br label %{go_on}")
        builder.start(go_on)


def _prefetch_c(product: Product, builder: Builder, vectors: int) -> None:
    element, row = LLVM_TYPE[product.accumulator], "%c"
    for i in range(product.rows):
        if i:
            row = builder.define(f"getelementptr {element}, ptr {row}, i64 %stride")
        for v in range(vectors):
            place = builder.define(f"getelementptr {element}, ptr {row}, i64 {v * product.lanes}")
            prefetch(builder, place, write=True)


def _prefetch_row_of_c(product: Product, builder: Builder, vectors: int, counter: str) -> None:
    """Ask for the row of a tile of C whose turn it is after so many inner elements."""
    per_row = product.k // product.rows
    row = builder.define(f"lshr i64 {counter}, {per_row.bit_length() - 1}")
    at = builder.define(f"mul i64 {row}, %stride")
    element = LLVM_TYPE[product.accumulator]
    row = builder.define(f"getelementptr {element}, ptr %asked_c, i64 {at}")
    for v in range(vectors):
        place = builder.define(f"getelementptr {element}, ptr {row}, i64 {v * product.lanes}")
        prefetch(builder, place, write=True)


def _multiply_add(product: Product, builder: Builder, a: str, b: str, c: str) -> str:
    kind = builder.type(product.compute, product.lanes)
    if product.quads:
        return quads.multiply_add(builder, a, b, c, product.lanes)
    if product.pairs:
        return pairs.multiply_add(builder, a, b, c, product.lanes)
    if product.compute[0] == "i":
        term = builder.define(f"mul {kind} {a}, {b}")
        return builder.define(f"add {kind} {c}, {term}")
    if product.target.fma:
        return builder.intrinsic("fma", product.compute, product.lanes, a, b, c)
    term = builder.define(f"fmul {kind} {a}, {b}")
    return builder.define(f"fadd {kind} {c}, {term}")


def _put(
    product: Product,
    builder: Builder,
    vectors: int,
    partial: dict[tuple[int, int], str],
    to: Rows | None,
) -> None:
    """Store the register tile in C, added to what lies there or elsewhere, or to nothing."""
    element, align = LLVM_TYPE[product.accumulator], BITS[product.accumulator] // 8
    kind = builder.type(product.accumulator, product.lanes)
    opcode = "fadd" if product.accumulator[0] == "f" else "add"
    row: str = "%c"
    old_row = to.place if to else ""
    for i in range(product.rows):
        if i:
            row = builder.define(f"getelementptr {element}, ptr {row}, i64 %stride")
        if i and to:
            old_row = builder.define(f"getelementptr {element}, ptr {old_row}, i64 {to.row_stride}")
        for v in range(vectors):
            at = v * product.lanes
            value = partial[i, v]
            if product.sum_element != product.accumulator:
                value = builder.define(
                    f"fptosi {builder.type(product.sum_element, product.lanes)} {value} to {kind}"
                )
            if to:
                place = builder.define(f"getelementptr {element}, ptr {old_row}, i64 {at}")
                old = builder.define(f"load {kind}, ptr {place}, align {align}")
                value = builder.define(f"{opcode} {kind} {old}, {value}")
            place = builder.define(f"getelementptr {element}, ptr {row}, i64 {at}")
            builder.emit(f"store {kind} {value}, ptr {place}, align {align}")
