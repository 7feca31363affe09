"""Helpers that programs are built from: `utils.data`."""

from tritorch import Tensor as _Tensor  # noqa: F401 - loads the names that are used below
