"""Optimizers with torch.optim's names; a step over all parameters of a dtype is one launch."""

from tritorch import Tensor as _Tensor  # noqa: F401 - loads the names that are used below
from tritorch.optim import lr_scheduler
from tritorch.optim.adam import Adam, AdamW
from tritorch.optim.adam_family import Adamax, NAdam, RAdam
from tritorch.optim.adaptive import ASGD, Adadelta, Adagrad, RMSprop, Rprop
from tritorch.optim.lbfgs import LBFGS
from tritorch.optim.matrix import Adafactor, Muon
from tritorch.optim.optimizer import Optimizer
from tritorch.optim.sgd import SGD

__all__ = [
    "ASGD", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax",
    "Muon", "NAdam", "Optimizer", "RAdam", "RMSprop", "Rprop", "lr_scheduler",
]  # fmt: skip
