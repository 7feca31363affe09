"""Helpers for gradients and parameters, with torch.nn.utils's names.

What is rarely used is loaded when it is first asked for.
"""

from importlib import import_module
from typing import Any

from tritorch.nn.utils import rnn
from tritorch.nn.utils.clip_grad import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from tritorch.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters

_LATER = {
    "convert_conv2d_weight_memory_format": "memory_format",
    "convert_conv3d_weight_memory_format": "memory_format",
    "fuse_conv_bn_eval": "fusion",
    "fuse_conv_bn_weights": "fusion",
    "fuse_linear_bn_eval": "fusion",
    "fuse_linear_bn_weights": "fusion",
    "remove_spectral_norm": "spectral_normalization",
    "remove_weight_norm": "weight_normalization",
    "skip_init": "uninitialized",
    "spectral_norm": "spectral_normalization",
    "weight_norm": "weight_normalization",
}
_MODULES = ("fusion", "parametrizations", "parametrize", "prune", "stateless")

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
    "parameters_to_vector",
    "rnn",
    "vector_to_parameters",
    *_LATER,
    *_MODULES,
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _LATER:
        found = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
