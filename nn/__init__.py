"""Layers, losses, initialisation: what models are composed of. Names are torch.nn's."""

from tritorch import Tensor as _Tensor  # noqa: F401 - loads the names that are used below
from tritorch.nn import attention, functional, init, modules, parallel, parameter, utils
from tritorch.nn.modules import *  # noqa: F403
from tritorch.nn.modules import __all__ as _layers
from tritorch.nn.parallel import DataParallel
from tritorch.nn.parameter import (
    Buffer,
    Parameter,
    UninitializedBuffer,
    UninitializedParameter,
    factory_kwargs,
)

__all__ = [
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "attention",
    "factory_kwargs",
    "functional",
    "init",
    "modules",
    "parallel",
    "parameter",
    "utils",
    *_layers,
]
