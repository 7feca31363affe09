"""Embeddings: rows of a table by index, one by one or summed in bags."""

from __future__ import annotations

from typing import Any

import tritorch
from tritorch.nn import functional, init
from tritorch.nn.modules.module import Module
from tritorch.nn.parameter import Parameter
from tritorch.tensor import Tensor


def _table_size(name: str, embeddings: Tensor) -> tuple[int, int]:
    """Rows of a given table and their elements."""
    if embeddings.ndim != 2:
        raise ValueError(
            f"{name}.from_pretrained: the table has shape {tuple(embeddings.shape)}, expected "
            "(rows, elements)."
        )
    rows, width = embeddings.shape
    return rows, width


class _Table(Module):
    """`num_embeddings` vectors of `embedding_dim` elements, and how they are looked up."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None,
        max_norm: float | None, norm_type: float, scale_grad_by_freq: bool, sparse: bool,
        weight: Tensor | None, freeze: bool, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(
                    f"{name}: padding_idx {padding_idx} must be within num_embeddings "
                    f"{num_embeddings}."
                )
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if weight is None:
            made = tritorch.empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
            self.weight = Parameter(made, requires_grad=not freeze)
            self.reset_parameters()
        elif tuple(weight.shape) != (num_embeddings, embedding_dim):
            raise ValueError(
                f"{name}: the weight has shape {tuple(weight.shape)}, expected "
                f"{(num_embeddings, embedding_dim)}."
            )
        else:
            self.weight = Parameter(weight, requires_grad=not freeze)

    def reset_parameters(self) -> None:
        """Normal(0, 1), the padding row zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with tritorch.no_grad():
                self.weight[self.padding_idx].fill_(0)

    def _options(self) -> dict[str, Any]:
        """What the repr shows, where it is not the default."""
        shown: dict[str, Any] = {}
        if self.max_norm is not None:
            shown["max_norm"] = self.max_norm
        if self.norm_type != 2:
            shown["norm_type"] = self.norm_type
        if self.scale_grad_by_freq:
            shown["scale_grad_by_freq"] = True
        return shown

    def _described(self, options: dict[str, Any]) -> str:
        texts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        return ", ".join([*texts, *(f"{name}={value!r}" for name, value in options.items())])


class Embedding(_Table):
    """A table of `num_embeddings` vectors of `embedding_dim` elements, looked up by index.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: elements of a row.
        padding_idx: row that is zero at first and gets no gradient.
        max_norm: rows that are looked up and longer are shortened first, in place.
        norm_type: the p of that norm.
        scale_grad_by_freq: a row's gradient is divided by how often its index occurs.
        sparse: accepted; gradients are dense all the same, see `functional.embedding`.
    Shape:
        indices of any shape (*) give (*, embedding_dim).
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False, _weight: Tensor | None = None, _freeze: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq,
            sparse, _weight, _freeze, device, dtype,
        )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:  # fmt: skip
        """An Embedding around a given table (rows, elements), not trained unless `freeze=False`."""
        rows, width = _table_size(cls.__name__, embeddings)
        return cls(
            rows, width, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings,
            freeze,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        return functional.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.sparse,
        )  # fmt: skip

    def extra_repr(self) -> str:
        options = self._options()
        if self.padding_idx is not None:
            options = {"padding_idx": self.padding_idx, **options}
        if self.sparse:
            options["sparse"] = True
        return self._described(options)


class EmbeddingBag(_Table):
    """The sum, mean or maximum of rows of a table for each bag of indices.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: elements of a row.
        max_norm, norm_type, scale_grad_by_freq, sparse: as of `Embedding`.
        mode: `sum`, `mean` or `max`.
        include_last_offset: the last offset is the end of the last bag.
        padding_idx: an index that does not count and gets no gradient.
    Shape:
        indices (bags, size), or (n,) with `offsets` (bags,), give (bags, embedding_dim).
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
        sparse: bool = False, _weight: Tensor | None = None, include_last_offset: bool = False,
        padding_idx: int | None = None, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq,
            sparse, _weight, False, device, dtype,
        )  # fmt: skip
        self.mode = mode
        self.include_last_offset = include_last_offset

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
        sparse: bool = False, include_last_offset: bool = False, padding_idx: int | None = None,
    ) -> EmbeddingBag:  # fmt: skip
        """An EmbeddingBag around a given table, not trained unless `freeze=False`."""
        rows, width = _table_size(cls.__name__, embeddings)
        made = cls(
            rows, width, max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings,
            include_last_offset, padding_idx,
        )  # fmt: skip
        made.weight.requires_grad_(not freeze)
        return made

    def forward(
        self, input: Tensor, offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        return functional.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        options = {**self._options(), "mode": self.mode}
        if self.padding_idx is not None:
            options["padding_idx"] = self.padding_idx
        return self._described(options)
