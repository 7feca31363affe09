"""Batches of items: `default_collate` and `default_convert`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import tritorch
from tritorch import dtypes
from tritorch.layout import Layout
from tritorch.tensor import Tensor, empty


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack the items of a batch: tensors, arrays and numbers become tensors, containers stay.

    Args:
        batch: items of one kind: tensors or arrays of one shape, numbers, text, or mappings, tuples
            and sequences of these (a tuple becomes a list, a named tuple stays one).
    Returns:
        one item of that kind, with a new first dimension in every tensor.
    Raises:
        TypeError: an item is of a type that cannot be stacked.
        RuntimeError: items differ in length or shape.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return tritorch.stack(list(batch))
    if isinstance(first, np.ndarray) and first.dtype.kind not in "SUO":
        return _stacked_arrays(batch)
    if isinstance(first, np.generic) and first.dtype.kind not in "SUO":
        return tritorch.as_tensor(np.asarray(batch))
    if isinstance(first, float):
        return tritorch.tensor(batch, dtype=tritorch.float64)
    if isinstance(first, int):
        return tritorch.tensor(batch)
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _same_mapping(
            first, {key: default_collate([item[key] for item in batch]) for key in first}
        )
    if isinstance(first, Sequence):
        if any(len(item) != len(first) for item in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return _same_sequence(first, [default_collate(column) for column in zip(*batch)])
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first)}. Give the DataLoader a collate_fn."
    )


def default_convert(data: Any) -> Any:
    """Arrays and numbers of NumPy as tensors, inside mappings, tuples and sequences too."""
    if isinstance(data, np.ndarray | np.generic):
        array = np.asarray(data)
        return data if array.dtype.kind in "SUO" else tritorch.as_tensor(array)
    if isinstance(data, Tensor | str | bytes):
        return data
    if isinstance(data, Mapping):
        return _same_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, Sequence):
        return _same_sequence(data, [default_convert(item) for item in data])
    return data


def _stacked_arrays(batch: Sequence[Any]) -> Tensor:
    """A tensor of host data: each array is copied once, to where it will stay."""
    arrays = [np.asarray(item) for item in batch]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise RuntimeError(
            f"default_collate: stack expects each array to be of equal size, got {shapes}. Give "
            "the DataLoader a collate_fn that pads them."
        )
    kind = dtypes.from_numpy(np.result_type(*arrays) if len(arrays) > 1 else arrays[0].dtype)
    result = empty(Layout.contiguous(kind, (len(arrays), *arrays[0].shape)))
    np.stack(arrays, out=result.numpy())
    return result


def _same_mapping(model: Mapping[Any, Any], content: dict[Any, Any]) -> Any:
    """The content as a mapping of the model's class, if that can be made."""
    if type(model) is dict:
        return content
    try:
        if isinstance(model, MutableMapping):
            clone = copy.copy(model)
            clone.update(content)
            return clone
        make: Callable[..., Any] = type(model)
        return make(content)
    except TypeError:
        return content


def _same_sequence(model: Sequence[Any], content: list[Any]) -> Any:
    """The content as a sequence of the model's class, if that can be made; tuples become lists."""
    make: Callable[..., Any] = type(model)
    if isinstance(model, tuple):
        return make(*content) if hasattr(model, "_fields") else content
    if make is list:
        return content
    try:
        if isinstance(model, MutableSequence):
            clone = copy.copy(model)
            for place, value in enumerate(content):
                clone[place] = value
            return clone
        return make(content)
    except TypeError:
        return content
