"""Softmax over many classes, the rare ones in clusters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import tritorch
from tritorch.nn import functional
from tritorch.nn.modules.container import ModuleList, Sequential
from tritorch.nn.modules.linear import Linear
from tritorch.nn.modules.module import Module
from tritorch.tensor import Tensor


class _ASMoutput(NamedTuple):
    """log p of each target, and the mean loss."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """log softmax over classes sorted from frequent to rare.

    The head decides between the frequent classes and the clusters of rare ones; each cluster has a
    smaller layer of its own, computed for its targets only.

    Args:
        in_features: elements of an input.
        n_classes: classes in all.
        cutoffs: the first class of each cluster, growing.
        div_value: by how much the inner size of each cluster is smaller than of the one before.
        head_bias: whether the head has a bias.
    Shape:
        input (N, in_features), target (N,) give output (N,) and a loss; or without N.
    Raises:
        ValueError: the cutoffs are not growing numbers within the classes.
    Source: Grave et al., Efficient softmax approximation for GPUs, 2017.
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
        head_bias: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        inside = all(int(c) == c and 0 < c < n_classes for c in cutoffs)
        if not inside or any(a >= b for a, b in pairwise(cutoffs)):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing "
                f"order, where each value is between 1 and n_classes-1; got {cutoffs}"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = cutoffs[0]
        self.n_clusters = len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        made = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **made)
        self.tail = ModuleList()
        for number, (low, high) in enumerate(pairwise(self.cutoffs)):
            inner = int(in_features // div_value ** (number + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, inner, bias=False, **made),
                    Linear(inner, high - low, bias=False, **made),
                )
            )

    def reset_parameters(self) -> None:
        """Every layer anew."""
        self.head.reset_parameters()
        for projection in self.tail:
            for layer in projection:
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        batched = target_.dim() == 1
        if target_.dim() > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if input_.dim() != target_.dim() + 1:
            raise RuntimeError(
                f"{target_.dim()}D target tensor expects {target_.dim() + 1}D input tensors, but "
                f"found inputs with size {input_.shape}"
            )
        if batched and input_.shape[0] != target_.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        input = input_ if batched else input_.unsqueeze(0)
        target = target_ if batched else target_.unsqueeze(0)
        head = functional.log_softmax(self.head(input), dim=1)
        column = target.clone()
        output = input.new_zeros(target.shape[0])
        found = 0
        for number, (low, high) in enumerate(pairwise([0, *self.cutoffs])):
            rows = ((target >= low) & (target < high)).nonzero().squeeze(1)
            found += rows.numel()
            if number == 0 or rows.numel() == 0:
                continue
            inner = self.tail[number - 1](input.index_select(0, rows))
            wanted = (target.index_select(0, rows) - low).unsqueeze(1)
            share = functional.log_softmax(inner, dim=1).gather(1, wanted).squeeze(1)
            output = output.index_copy(0, rows, share)
            column.index_fill_(0, rows, self.shortlist_size + number - 1)
        if found != target.shape[0]:
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                f"[{target.min().item()}, {target.max().item()}] were found. "
            )
        output = output + head.gather(1, column.unsqueeze(1)).squeeze(1)
        loss = -output.mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def _whole(self, input: Tensor, head_output: Tensor) -> Tensor:
        head = functional.log_softmax(head_output, dim=1)
        parts = [head[:, : self.shortlist_size]]
        for number, projection in enumerate(self.tail):
            place = self.shortlist_size + number
            inside = functional.log_softmax(projection(input), dim=1)
            parts.append(inside + head[:, place : place + 1])
        return tritorch.cat(parts, 1)

    def log_prob(self, input: Tensor) -> Tensor:
        """log p of every class: (N, in_features) gives (N, n_classes)."""
        return self._whole(input, self.head(input))

    def predict(self, input: Tensor) -> Tensor:
        """The most likely class of each input: (N, in_features) gives (N,)."""
        head_output = self.head(input)
        output = head_output.argmax(1)
        rows = (output >= self.shortlist_size).nonzero().squeeze(1)
        if rows.numel() == 0:
            return output
        whole = self._whole(input.index_select(0, rows), head_output.index_select(0, rows))
        return output.index_copy(0, rows, whole.argmax(1))
