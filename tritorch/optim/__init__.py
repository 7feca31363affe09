"""Optimizers with torch.optim's names; a step over all parameters of a dtype is one launch."""

from typing import TYPE_CHECKING, Any

from tritorch import Tensor as _Tensor  # noqa: F401 - loads the names that are used below
from tritorch.optim import lr_scheduler
from tritorch.optim.adafactor import Adafactor
from tritorch.optim.adam import Adam, AdamW
from tritorch.optim.adam_family import Adamax, NAdam, RAdam
from tritorch.optim.adaptive import ASGD, Adadelta, Adagrad, RMSprop, Rprop
from tritorch.optim.lbfgs import LBFGS
from tritorch.optim.muon import Muon
from tritorch.optim.optimizer import Optimizer
from tritorch.optim.sgd import SGD
from tritorch.optim.sparse_adam import SparseAdam
from tritorch.optim.swap_in import swap_in_optimizer_params_and_state

if TYPE_CHECKING:
    from tritorch.optim import swa_utils

__all__ = [
    "ASGD", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax",
    "Muon", "NAdam", "Optimizer", "RAdam", "RMSprop", "Rprop", "SparseAdam", "lr_scheduler",
    "swa_utils", "swap_in_optimizer_params_and_state",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """`swa_utils` is loaded when it is first asked for: it needs modules."""
    if name == "swa_utils":
        from importlib import import_module

        return import_module("tritorch.optim.swa_utils")
    raise AttributeError(f"module 'tritorch.optim' has no attribute {name!r}")
