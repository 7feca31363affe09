"""`Pointwise`: an operation given by scalar expressions, with its functions, plans and gradient
nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from operator import itemgetter
from typing import Any

import numpy as np

from tritorch import dtypes
from tritorch.autograd import inplace
from tritorch.autograd.edges import edge
from tritorch.autograd.grad_mode import is_grad_enabled
from tritorch.autograd.node import Node
from tritorch.autograd.protocol import operations
from tritorch.devices import cpu
from tritorch.dtypes import dtype as Dtype
from tritorch.errors import DtypeError, OperandError, ShapeError
from tritorch.host import array_from_data
from tritorch.kernels import PointwiseKernel
from tritorch.kernels.expression import Expr, input_names
from tritorch.layout import Layout, broadcast_shapes
from tritorch.ops.dispatch import (
    NO_EDGE,
    NUMBER,
    WANTED,
    Parameter,
    Plans,
    Signature,
    deferred,
    function_text,
    inplace_text,
)
from tritorch.ops.dtype_rules import RULES
from tritorch.ops.output import finished
from tritorch.ops.overlap import meets
from tritorch.ops.promotion import (
    NUMBERS,
    Kind,
    can_cast,
    common_device,
    float_dtype,
)
from tritorch.ops.recipe import (
    Override,
    as_operands,
    gradient_trees,
    result_names,
    upstream_names,
)
from tritorch.runtime import get_target
from tritorch.tensor import Tensor, from_array


class ConstantNode(Node):
    """Backward of an operation whose result is constant almost everywhere, as a comparison's."""

    __slots__ = ()

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Zeros for what was overwritten."""
        zeros = operations.zeros(self.output_layouts[0])
        return tuple(zeros if self.needs(i) else None for i in range(len(self.next_functions)))


class PointwiseNode(Node):
    """Backward of a pointwise operation: launches the fused gradient of its recipe."""

    __slots__ = ("numbers", "recipe")
    recipe: Recipe
    numbers: tuple[Any, ...]

    def apply(self, grads: Sequence[Any]) -> tuple[Any, ...]:
        """Gradients of the operands from those of the results."""
        return self.recipe.gradients(grads, self.unpack(), self.numbers)


def picker(positions: tuple[int, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """A function that gives the items at these positions of a tuple; runs for every node."""
    if len(positions) > 1:
        return itemgetter(*positions)
    if positions:
        (position,) = positions
        return lambda items: (items[position],)
    return lambda items: ()


class Recipe:
    """How the wanted gradients of an operation are computed, and what must be saved for it.

    Attributes:
        parts: per operand `UNWANTED`, `WANTED` or `NUMBER`.
        tensors, numbers: positions of the operands to save.
        saves_result: whether results are saved.
    """

    def __init__(
        self, operation: Pointwise, parts: tuple[int, ...], may_save_result: bool = True
    ) -> None:
        self.operation = operation
        self.parts = parts
        self.may_save_result = may_save_result
        names = operation.names
        results = result_names(len(operation.outputs))
        complete = (True,) * len(operation.outputs)
        read = input_names(self._trees(complete))
        used = [i for i, name in enumerate(names) if name in read]
        is_number = [i >= len(parts) or parts[i] == NUMBER for i in range(len(names))]
        self.tensors = tuple(i for i in used if not is_number[i])
        self.numbers = tuple(i for i in used if is_number[i])
        self._pick_tensors = picker(self.tensors)
        self._pick_numbers = picker(self.numbers)
        self.saves_result = any(name in read for name in results)
        self._places = {name: i for i, name in enumerate(upstream_names(len(results)))}
        kept = [names[i] for i in self.tensors]
        kept += results if self.saves_result else ()
        kept += [names[i] for i in self.numbers]
        self._places |= {name: len(results) + i for i, name in enumerate(kept)}
        self._steps = Plans(self._step)

    def _wanted(self) -> list[str]:
        return [n for n, part in zip(self.operation.operands, self.parts) if part == WANTED]

    def _trees(self, present: tuple[bool, ...]) -> list[Expr]:
        operation = self.operation
        return gradient_trees(
            operation.names,
            operation.outputs,
            self._wanted(),
            present,
            operation.grad,
            self.may_save_result,
        )

    def _step(self, present: tuple[bool, ...]) -> tuple[Any, ...]:
        """The fused operation, the places of its operands, and where each gradient comes from."""
        trees = iter(self._trees(present))
        upstreams = upstream_names(len(self.operation.outputs))
        sources: list[int | None] = []
        fused: list[Expr] = []
        for part in self.parts:
            tree = next(trees) if part == WANTED else None
            if tree is None:
                sources.append(None)
            elif tree.op == "input" and tree.value in upstreams:
                sources.append(-1 - upstreams.index(tree.value))
            else:
                sources.append(len(fused))
                fused.append(tree)
        if not fused:
            return None, [], sources
        read = input_names(fused)
        # The upstream gradient gives shape and dtype, so it is an operand even of a constant
        # gradient.
        first = upstreams[present.index(True)]
        names = [name for name in self._places if name in read or name == first]
        operands, fused = as_operands(names, fused)
        operation = Pointwise(
            f"{self.operation.name}_backward",
            operands,
            fused,
            promote="gradient",
            node_name=f"{self.operation.node_name.removesuffix('0')}Backward0",
        )
        return operation.function, [self._places[name] for name in names], sources

    def save(self, node: PointwiseNode, operands: tuple[Any, ...]) -> None:
        """Keep what the gradients need."""
        node.recipe = self
        node.numbers = self._pick_numbers(operands)
        if self.tensors:
            node.save(*self._pick_tensors(operands))

    def gradients(
        self, grads: Sequence[Any], saved: Sequence[Any], numbers: Sequence[Any]
    ) -> tuple[Any, ...]:
        """A gradient or None per operand."""
        function, places, sources = self._steps[tuple([grad is not None for grad in grads])]
        values = (*grads, *saved, *numbers)
        made = () if function is None else function(*[values[i] for i in places])
        if made.__class__ is not tuple:
            made = (made,)
        return tuple([None if s is None else made[s] if s >= 0 else grads[-1 - s] for s in sources])


class Pointwise:
    """An operation given by a tree per result.

    Attributes:
        function: makes new tensors. `reflected`: the same with the two operands swapped.
        inplace: writes into the first operand.

    Args:
        operands: names of what may be tensors.
        outputs: trees over operands and parameters, or a function that makes them when they are
            first needed.
        parameters: name -> (Python type, default as text) of what is always a number.
        promote: a word of `RULES`.
        grad: see `gradient_trees`.
        divisor: the operand by which integers are divided, where CPUs refuse 0.
        row_major: new results are, whatever the operands' strides.
    """

    def __init__(
        self,
        name: str,
        operands: Sequence[str],
        outputs: Sequence[Expr] | Callable[[], Sequence[Expr]],
        *,
        parameters: dict[str, tuple[type, str]] | None = None,
        promote: str = "same",
        grad: Override | None = None,
        node_name: str = "",
        differentiable: bool = True,
        doc: str | None = None,
        out: bool = False,
        divisor: str = "",
        row_major: bool = False,
    ) -> None:
        self.name = name
        self.operands = tuple(operands)
        self._outputs = outputs
        self.parameters = parameters or {}
        self.names = (*self.operands, *self.parameters)
        self.rule = RULES[promote]
        self.grad = grad
        self.node_name = node_name or camel(name) + "Backward0"
        self.constant = promote in ("bool", "logical", "integral")
        #: in place it leaves the history of what it writes alone, as PyTorch does for these
        self.keeps_history = promote == "logical"
        self.differentiable = differentiable and not self.constant
        self.plans = Plans(self._plan, mixes=True)
        self.inplace_plans = Plans(self._inplace_plan, mixes=True)
        self.out_plans = Plans(self._out_plan, mixes=True)
        self.recipes = Plans(self._recipe)
        self._recipes_of_views = Plans(lambda parts: Recipe(self, parts, False))
        self._doc = doc
        self._divisor = divisor
        self._row_major = row_major
        self._parameters = tuple(Parameter(n, d) for n, (_, d) in self.parameters.items())
        self.function = self._function(name, False, out)

    def __repr__(self) -> str:
        return f"<pointwise operation {self.name}({', '.join(self.names)})>"

    # ---- what is made when it is first needed: an import declares all operations
    @cached_property
    def outputs(self) -> tuple[Expr, ...]:
        """A tree for each result."""
        return tuple(self._outputs() if callable(self._outputs) else self._outputs)

    @cached_property
    def kernel(self) -> PointwiseKernel:
        """The kernels that compute the trees."""
        return PointwiseKernel(self.name, self.names, self.outputs, self._divisor)

    @cached_property
    def node(self) -> type[PointwiseNode]:
        """The class of its nodes in the graph."""
        return self._node_class(PointwiseNode)

    @cached_property
    def _constant_node(self) -> type[ConstantNode]:
        return self._node_class(ConstantNode)

    def _node_class(self, base: type[Any]) -> type[Any]:
        return type(self.node_name, (base,), {"__slots__": (), "__module__": "tritorch.autograd"})

    # ---- functions
    def _function(
        self, name: str, reflected: bool, out: bool, convert: Any = None
    ) -> Callable[..., Any]:
        signature = Signature(self.operands, self._parameters, reflected)

        def build() -> tuple[str, dict[str, Any]]:
            text = function_text(signature, len(self.outputs), out=out, saves=self.differentiable)
            return text, {
                "plans": self.plans,
                "recipes": self.recipes,
                "Node": self.node,
                "convert": convert or self._convert,
                "into": self.into,
            }

        return deferred(signature, name, self._doc, build, out=out)

    def operator(self, name: str, reflected: bool = False) -> Callable[..., Any]:
        """The function as a dunder method: gives NotImplemented for foreign operands."""

        def convert(*values: Any) -> Any:
            batched = batched_operand(values)
            if batched is not None:
                return batched._pointwise(self.function, values, len(self.operands))
            try:
                operands = self.accepted(values, arrays=True)
            except TypeError:
                return NotImplemented
            return self.function(*operands)

        return self._function(name, reflected, False, convert)

    @cached_property
    def inplace(self) -> Callable[..., Any]:
        """The function that writes into its first operand."""
        name = self.name + "_"
        return self._inplace(name, self._convert_inplace)

    def inplace_operator(self, name: str) -> Callable[..., Any]:
        """The same as an augmented assignment, which takes NumPy's arrays too."""
        return self._inplace(name, partial(self._convert_inplace, arrays=True))

    def _inplace(self, name: str, convert: Any) -> Callable[..., Any]:
        signature = Signature(self.operands, self._parameters)

        def build() -> tuple[str, dict[str, Any]]:
            return inplace_text(signature), {
                "inplace_plans": self.inplace_plans,
                "convert": convert,
                "record_inplace": self._record_inplace,
                "check_overlap": self._check_overlap,
            }

        return deferred(signature, name, f"In-place version of `{self.name}`.", build)

    # ---- operands that are neither tensors nor Python numbers
    def accepted(self, values: Sequence[Any], *, arrays: bool = False) -> list[Any]:
        """The operands, NumPy's numbers as Python's and with `arrays` its arrays as tensors.

        Raises OperandError for what can be neither.
        """
        result = []
        for position, (name, value) in enumerate(zip(self.names, values), 1):
            if isinstance(value, Tensor) or value.__class__ in NUMBERS:
                result.append(value)
            elif arrays and isinstance(value, np.ndarray):
                result.append(from_array(array_from_data(value), cpu))
            elif isinstance(value, np.generic | int | float) and not isinstance(value, str):
                result.append(value.item() if isinstance(value, np.generic) else plain(value))
            else:
                raise self._no_operand(position, name, value)
        return result

    def _no_operand(self, position: int, name: str, value: Any) -> OperandError:
        return OperandError(
            f"{self.name}(): argument '{name}' (position {position}) must be Tensor, not "
            f"{type(value).__name__}. Convert it with tritorch.tensor.",
            value,
        )

    def _convert(self, *values: Any) -> Any:
        batched = batched_operand(values)
        if batched is not None:
            return batched._pointwise(self.function, values, len(self.operands))
        operands = self.accepted(values)
        if len(self.operands) == 1 and not isinstance(operands[0], Tensor):
            raise self._no_operand(1, self.names[0], values[0])
        if not any(isinstance(value, Tensor) for value in operands):
            operands[0] = from_array(array_from_data(operands[0]), cpu)
        return self.function(*operands)

    def _convert_inplace(self, *values: Any, arrays: bool = False) -> Any:
        batched = batched_operand(values)
        if batched is not None:
            return batched._pointwise(self.inplace, values, len(self.operands))
        if not isinstance(values[0], Tensor):
            raise self._no_target(values[0])
        operands = self.accepted(values, arrays=arrays)
        if all(a is b for a, b in zip(operands, values)):
            raise TypeError(f"{self.name}_: wrong operands {values!r:.80}.")
        return self.inplace(*operands)

    def _no_target(self, value: Any) -> OperandError:
        return OperandError(
            f"{self.name}_(): argument '{self.names[0]}' (position 1) must be Tensor, not "
            f"{type(value).__name__}, which cannot be written to. Use {self.name}.",
            value,
        )

    # ---- plans
    def _kinds(self, key: Any) -> list[Kind]:
        return list(key) if isinstance(key, tuple) else [key]

    def _plan(self, key: Any) -> tuple[Any, ...]:
        kinds = self._kinds(key)
        device = common_device(self.name, kinds)
        computes, results = self.rule(self, kinds)
        layouts = None
        if self._row_major:
            shape = _broadcast(self.name, kinds)
            layouts = [Layout.contiguous(dtype, shape, device) for dtype in results]
        plan = self.kernel.plan(
            [*kinds, *self._parameter_kinds()], self._computes(computes), results, layouts,
            device=device,
        )  # fmt: skip
        launch = tensors_first(plan.launch, len(results), kinds, len(self.parameters))
        target = get_target(device)
        if len(results) == 1:
            return launch, target, plan.outputs, plan.outputs[0], plan.outputs[0].nbytes
        return launch, target, plan.outputs, [layout.nbytes for layout in plan.outputs]

    def _parameter_kinds(self) -> list[type]:
        return [kind for kind, _ in self.parameters.values()]

    def _computes(self, computes: list[Dtype]) -> list[Dtype]:
        common = computes[-1]
        return computes + [
            float_dtype(common) if kind is float else dtypes.int64
            for kind in self._parameter_kinds()
        ]

    def plan_into(self, layout: Layout, kinds: Sequence[Kind], name: str) -> Callable[..., Any]:
        """The launch of a plan that writes into a tensor of this layout."""
        device = common_device(name, [layout, *kinds])
        computes, (result,) = self.rule(self, kinds)
        if not can_cast(result, layout.dtype):
            raise DtypeError(
                f"{name}: result type {result} can't be cast to the desired output type "
                f"{layout.dtype}. Convert an operand, or the target."
            )
        if not layout.is_dense and layout.numel > 1 and _overlaps_itself(layout):
            raise RuntimeError(
                f"{name}: unsupported operation: more than one element of the written-to tensor "
                "refers to a single memory location. Please clone() the tensor before performing "
                "the operation."
            )
        shape = _broadcast(name, kinds, layout)
        if shape != layout.shape:
            raise ShapeError(
                f"{name}: output with shape {list(layout.shape)} doesn't match the broadcast shape "
                f"{list(shape)}. Use the operation that makes a new tensor."
            )
        plan = self.kernel.plan(
            [*kinds, *self._parameter_kinds()],
            self._computes(computes),
            [layout.dtype],
            out_layouts=[layout],
            device=device,
        )
        return tensors_first(plan.launch, 1, kinds, len(self.parameters))

    def _inplace_plan(self, key: Any) -> Callable[..., Any]:
        kinds = self._kinds(key)
        if not isinstance(kinds[0], Layout):
            raise self._no_target(kinds[0]())
        return self.plan_into(kinds[0], kinds, self.name + "_")

    def _out_plan(self, key: Any) -> Callable[..., Any]:
        layout, kinds = key[0], key[1:]
        launch = self.plan_into(layout, kinds, self.name)
        if _broadcast(self.name, kinds) != layout.shape:
            raise ShapeError(f"{self.name}: out= has another shape than the result.")
        return launch

    def into(self, out: Tensor, *values: Any) -> Tensor:
        """Compute into `out=`; it takes the result's shape if it has another."""
        operands = self.accepted(values)
        if not isinstance(out, Tensor):
            raise TypeError(
                f"{self.name}(): argument 'out' must be Tensor, not {type(out).__name__}."
            )
        wanted = any(o.__class__ not in NUMBERS and o._requires_grad for o in [*operands, out])
        if wanted and is_grad_enabled():
            raise RuntimeError(
                f"{self.name}(): functions with out=... arguments don't support automatic "
                "differentiation, but one of the arguments requires grad."
            )
        kinds = [o.__class__ if o.__class__ in NUMBERS else o._layout for o in operands]
        kinds = kinds[: len(self.operands)]
        if not out._layout.numel:
            return finished(self.function(*operands), out, self.name)
        try:
            launch = self.out_plans[out._layout, *kinds]
        except ShapeError:  # the target takes another shape, with a warning
            return finished(self.function(*operands), out, self.name)
        self._refuse_overlap(self.name, out, operands)
        launch(out._address, *[o if o.__class__ in NUMBERS else o._address for o in operands])
        out._storage.version += 1
        return out

    # ---- gradients
    def _recipe(self, key: Any) -> Recipe:
        return Recipe(self, key if isinstance(key, tuple) else (key,))

    def _check_overlap(self, first: Tensor, *others: Any) -> None:
        self._refuse_overlap(self.name + "_", first, others)

    def _refuse_overlap(self, name: str, target: Tensor, operands: Sequence[Any]) -> None:
        """Elements that are read after they were written give wrong results."""
        for operand in operands:
            if operand.__class__ not in NUMBERS and meets(target, operand):
                raise RuntimeError(
                    f"{name}: unsupported operation: some elements of the input tensor and "
                    "the written-to tensor refer to a single memory location. Please clone() the "
                    "tensor before performing the operation."
                )

    def _record_inplace(
        self,
        launch: Callable[..., Any],
        operands: tuple[Any, ...],
        parts: tuple[int, ...],
        values: tuple[Any, ...],
    ) -> Tensor:
        target = operands[0]
        others = any(part == WANTED for part in parts[1:])
        inplace.check_inplace(target, others)
        node: Node | None = None
        recipe = None
        if self.differentiable and WANTED in parts:
            recipe = self.recipes[parts if len(parts) > 1 else parts[0]]
            if recipe.saves_result and target._view is not None:
                # Once the view is gone, nothing would lead from its saved values to their history.
                recipe = self._recipes_of_views[parts]
            edges = tuple(
                NO_EDGE if part == NUMBER else edge(operand)
                for part, operand in zip(parts, operands)
            )
            node = self.node(edges, (target._layout,))
            # What is overwritten is saved as a copy, with its history for second derivatives.
            kept = [o.clone() if o is target else o for o in operands]
            recipe.save(node, tuple(kept) if 0 in recipe.tensors else operands)
        elif (others or target._requires_grad) and not self.keeps_history:
            if not self.constant:
                raise RuntimeError(f"{self.name}_: has no gradient. Use detach().")
            edges = tuple(
                NO_EDGE if part == NUMBER else edge(operand)
                for part, operand in zip(parts, operands)
            )
            node = self._constant_node(edges, (target._layout,))
        launch(values[0], *values)
        target._storage.version += 1
        if node is not None:
            inplace.rebase_history(target, node)
            if recipe is not None and recipe.saves_result:
                node.save_outputs(target)
        return target


def batched_operand(values: Sequence[Any]) -> Any:
    """The first operand that stands for many samples (`tritorch.func`), which knows what to do."""
    for value in values:
        if getattr(value, "_pointwise", None) is not None:
            return value
    return None


def camel(name: str) -> str:
    """`log_softmax` -> `LogSoftmax`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def plain(number: Any) -> bool | int | float:
    """A number of exactly Python's own classes from one of their subclasses."""
    for kind in (bool, int, float):
        if isinstance(number, kind):
            return kind(number)
    raise TypeError(f"expected a number, got {type(number).__name__}.")


def tensors_first(
    launch: Callable[..., Any], results: int, kinds: Sequence[Kind], parameters: int
) -> Callable[..., Any]:
    """A launch that takes operands in declared order; plans take all tensors before all numbers."""
    count = results + len(kinds) + parameters
    numbers = [results + i for i, kind in enumerate(kinds) if isinstance(kind, type)]
    numbers += range(results + len(kinds), count)
    order = [i for i in range(count) if i not in numbers] + numbers
    if order == list(range(count)):
        return launch
    return lambda *values: launch(*[values[i] for i in order])


def _broadcast(name: str, kinds: Sequence[Kind], *layouts: Layout) -> tuple[int, ...]:
    shapes = [k.shape for k in (*layouts, *kinds) if isinstance(k, Layout)]
    return broadcast_shapes(name, *dict.fromkeys(shapes))


def _overlaps_itself(layout: Layout) -> bool:
    """Whether two indices reach the same element; exact for what expand makes."""
    return any(stride == 0 and size > 1 for size, stride in zip(layout.shape, layout.strides))
