"""`vmap`: a function of one sample becomes one of all samples at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tritorch.func.batched import Level, batched, levels, state
from tritorch.func.dispatch import at
from tritorch.func.interception import interception
from tritorch.func.trees import flatten, spread, unflatten
from tritorch.ops import joining, views
from tritorch.ops.random import default_generator
from tritorch.tensor import Tensor

Dims = Any
RANDOMNESS = ("error", "different", "same")


def vmap(
    func: Callable[..., Any],
    in_dims: Dims = 0,
    out_dims: Dims = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that maps `func` over a dimension of its inputs, all samples in one go.

    Operations inside see tensors of a sample's shape and run once for all samples, by batching
    rules that follow from their declarations. An operation without a rule runs in a loop over the
    samples, with a warning the first time. Inside, tensors have no single value: `item()`, `if x:`
    and results whose shape depends on values are errors.

    Args:
        func: takes and returns tensors, or nested containers of them.
        in_dims: the mapped dimension of each input, None for one that all samples share: an int for
            all inputs, or a tuple with an entry per input, nested as the inputs are.
        out_dims: where the samples' dimension is put in the outputs; as `in_dims`, nested as they.
        randomness: "error" (drawing random numbers is an error), "different" (each sample draws its
            own), or "same" (all samples get the same).
        chunk_size: samples in one go, to bound the memory; None is all.

    Raises:
        ValueError: dimensions that do not fit the inputs.
        RuntimeError: Python values of batched tensors, or writing to a tensor that samples share.

    Example:
        >>> import tritorch
        >>> x, y = tritorch.ones(3, 5), tritorch.ones(3, 5)
        >>> tritorch.vmap(tritorch.dot)(x, y)
        tensor([5., 5., 5.])
    """
    if randomness not in RANDOMNESS:
        raise RuntimeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def wrapped(*args: Any, **options: Any) -> Any:
        mapping = _Mapping(func, in_dims, out_dims, randomness)
        size, dims, leaves, structure = mapping.inputs(args)
        if chunk_size is None or chunk_size >= size:
            return mapping.run(size, dims, leaves, structure, options)
        return mapping.in_chunks(chunk_size, size, dims, leaves, structure, options)

    return wrapped


def _is_dim(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


class _Mapping:
    """One call of a mapped function."""

    def __init__(
        self, func: Callable[..., Any], in_dims: Dims, out_dims: Dims, randomness: str
    ) -> None:
        self.func = func
        self.in_dims = in_dims
        self.out_dims = out_dims
        self.randomness = randomness
        self.name = getattr(func, "__name__", repr(func))

    # ---- inputs
    def inputs(self, args: tuple[Any, ...]) -> tuple[int, list[Any], list[Any], Any]:
        """(number of samples, mapped dimension per leaf, leaves, structure)."""
        where = f"vmap({self.name}, in_dims={self.in_dims}, ...)(<inputs>)"
        if not isinstance(self.in_dims, (int, tuple, list)):
            raise ValueError(
                f"{where}: expected `in_dims` to be int or a (potentially nested) tuple matching "
                f"the structure of inputs, got: {type(self.in_dims)}."
            )
        if not args:
            raise ValueError(
                f"vmap({self.name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or "
                "you are trying to vmap over a function with no inputs. The latter is unsupported."
            )
        leaves, structure = flatten(args)
        given = tuple(self.in_dims) if isinstance(self.in_dims, list) else self.in_dims
        dims = spread(given, args, _is_dim)
        if dims is None:
            raise ValueError(
                f"{where}: in_dims is not compatible with the structure of inputs: "
                f"{len(args)} inputs. Give an int or None for each input, nested as they are."
            )
        for position, (dim, leaf) in enumerate(zip(dims, leaves)):
            if dim is None:
                continue
            if not isinstance(leaf, Tensor):
                raise ValueError(
                    f"{where}: Got in_dim={dim} for an input but the input is of type "
                    f"{type(leaf)}. We cannot vmap over non-Tensor arguments, please use None as "
                    "the respective in_dim"
                )
            ndim = leaf._layout.ndim
            if not -ndim <= dim < ndim:
                raise ValueError(
                    f"{where}: Got in_dim={dim} for some input, but that input is a Tensor of "
                    f"dimensionality {ndim} so expected in_dim to satisfy -{ndim} <= in_dim < "
                    f"{ndim}."
                )
            dims[position] = dim % ndim
        sizes = [leaf._layout.shape[d] for leaf, d in zip(leaves, dims) if d is not None]
        if not sizes:
            raise ValueError(
                f"{where}: no input is mapped over: in_dims is None for all of them. Give at least "
                "one a dimension."
            )
        if len(set(sizes)) > 1:
            raise ValueError(
                "vmap: Expected all tensors to have the same size in the mapped dimension, got "
                f"sizes {sizes} for the mapped dimension"
            )
        return sizes[0], dims, leaves, structure

    # ---- running
    def run(
        self, size: int, dims: list[Any], leaves: list[Any], structure: Any,
        options: dict[str, Any],
    ) -> Any:  # fmt: skip
        """All samples at once."""
        with interception:
            level = Level(len(state.levels) + 1, size, self.randomness)
            samples = [
                leaf if dim is None else batched(leaf, dim, level)
                for leaf, dim in zip(leaves, dims)
            ]
            with levels((*state.levels, level)):
                outputs = self.func(*unflatten(samples, structure), **options)
            found, form = flatten(outputs)
            places = self.places(outputs)
            return unflatten(
                [self.output(x, place, level) for x, place in zip(found, places)], form
            )

    def in_chunks(
        self, chunk: int, size: int, dims: list[Any], leaves: list[Any], structure: Any,
        options: dict[str, Any],
    ) -> Any:  # fmt: skip
        """Some samples at once, then the next."""
        generator = default_generator.get_state() if self.randomness == "same" else None
        columns: list[Sequence[Any]] = []
        outputs: Any = None
        for start in range(0, size, chunk):
            count = min(chunk, size - start)
            part = [
                leaf if dim is None else views.narrow(leaf, dim, start, count)
                for leaf, dim in zip(leaves, dims)
            ]
            if generator is not None:
                default_generator.set_state(generator)
            outputs = self.run(count, dims, part, structure, options)
            columns.append(flatten(outputs)[0])
        joined = [
            parts[0] if place is None else joining.cat(parts, place)
            for parts, place in zip(map(list, zip(*columns)), self.places(outputs))
        ]
        return unflatten(joined, flatten(outputs)[1])

    # ---- outputs
    def places(self, outputs: Any) -> list[Any]:
        """Where the samples' dimension goes in each leaf of the outputs."""
        given = self.out_dims
        if isinstance(given, list):
            given = tuple(given)
        if isinstance(given, tuple) and len(given) == 1 and not isinstance(outputs, (tuple, list)):
            given = given[0]
        dims = spread(given, outputs, _is_dim)
        if dims is None:
            raise ValueError(
                f"vmap({self.name}, ..., out_dims={self.out_dims})(<inputs>): out_dims is not "
                "compatible with the structure of `outputs`. Give an int for each output, nested "
                "as they are."
            )
        return dims

    def output(self, x: Any, place: int | None, level: Level) -> Any:
        """A result with all samples."""
        if not isinstance(x, Tensor):
            if place is None:
                return x
            raise ValueError(
                f"vmap({self.name}, ...): `{self.name}` must only return Tensors, got type "
                f"{type(x)}. Did you mean to set out_dims= to None for output?"
            )
        if place is None:
            if at(x, level):
                raise ValueError(
                    f"vmap({self.name}, ...): `{self.name}` can not return a BatchedTensor when "
                    "out_dim is None"
                )
            return x
        ndim = x._layout.ndim + 1
        if not -ndim <= place < ndim:
            raise IndexError(
                f"vmap({self.name}, ..., out_dims={self.out_dims}): Dimension out of range "
                f"(expected to be in range of [{-ndim}, {ndim - 1}], but got {place})"
            )
        place %= ndim
        if at(x, level):
            value, dim = x._value, x._dim
            return value if dim == place else views.movedim(value, dim, place)
        shown = views.unsqueeze(x, place)
        sizes = list(shown._layout.shape)
        sizes[place] = level.size
        return views.expand(shown, *sizes)
