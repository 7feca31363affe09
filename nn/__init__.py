"""Layers, losses, initialisation: what models are composed of. Names are torch.nn's."""

from tritorch import Tensor as _Tensor  # noqa: F401 - loads the names that are used below
from tritorch.nn import functional, init, utils
from tritorch.nn.module import Module
from tritorch.nn.modules import *  # noqa: F403
from tritorch.nn.modules import __all__ as _layers
from tritorch.nn.parameter import Parameter

__all__ = ["Module", "Parameter", "functional", "init", "utils", *_layers]
