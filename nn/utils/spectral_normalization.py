"""Weights divided by their largest singular value, by a hook before each forward.

Source: Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
"""

from __future__ import annotations

from typing import Any

import tritorch
from tritorch.nn import functional
from tritorch.nn.modules.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from tritorch.nn.modules.module import Module
from tritorch.nn.parameter import Parameter, is_lazy
from tritorch.tensor import Tensor


def output_dimension(module: Module, dim: int | None) -> int:
    """The dimension of a layer's weight that belongs to its outputs, unless it is given."""
    if dim is not None:
        return dim
    return int(isinstance(module, ConvTranspose1d | ConvTranspose2d | ConvTranspose3d))


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """(size of `dim`, everything else)."""
    if dim:
        weight = weight.permute(dim, *(d for d in range(weight.dim()) if d != dim))
    return weight.flatten(1)


class SpectralNorm:
    """The hook before forward, which computes the weight."""

    _version = 1

    def __init__(
        self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.name = name
        self.dim = dim
        self.n_power_iterations = n_power_iterations
        self.eps = eps

    def compute_weight(self, module: Any, do_power_iteration: bool) -> Tensor:
        """The weight over its largest singular value, as the vectors u and v know it."""
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with tritorch.no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(functional.normalize(matrix.t().mv(u), dim=0, eps=self.eps))
                    u.copy_(functional.normalize(matrix.mv(v), dim=0, eps=self.eps))
                u, v = u.clone(), v.clone()
        return weight / u.dot(matrix.mv(v))

    def __call__(self, module: Any, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))

    def remove(self, module: Any) -> None:
        """The weight as a parameter again."""
        with tritorch.no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        for suffix in ("", "_u", "_v", "_orig"):
            delattr(module, self.name + suffix)
        module.register_parameter(self.name, Parameter(weight.detach()))

    def mark_version(self, module: Any, state: Any, prefix: str, metadata: dict[str, Any]) -> None:
        """What PyTorch writes to the metadata of a state_dict."""
        metadata.setdefault("spectral_norm", {})[f"{self.name}.version"] = self._version


def spectral_norm(
    module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """Divide a parameter by its largest singular value before each forward.

    `nn.utils.parametrizations.spectral_norm` does the same without a hook.

    Args:
        n_power_iterations: steps of the power method per forward in training.
        eps: least norm of the vectors.
        dim: dimension of the outputs; 1 for transposed convolutions, else 0.
    Raises:
        RuntimeError: it is done already.
    """
    for known in module._forward_pre_hooks.values():
        if isinstance(known, SpectralNorm) and known.name == name:
            raise RuntimeError(
                f"Cannot register two spectral_norm hooks on the same parameter {name}"
            )
    hook = SpectralNorm(name, n_power_iterations, output_dimension(module, dim), eps)
    weight = module._parameters[name]
    if weight is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    if is_lazy(weight):
        raise ValueError(
            "The module passed to `SpectralNorm` can't have uninitialized parameters. Make sure to "
            "run the dummy forward before applying spectral normalization"
        )
    with tritorch.no_grad():
        height, width = as_matrix(weight, hook.dim).shape
        u = functional.normalize(weight.new_empty(height).normal_(0, 1), dim=0, eps=eps)
        v = functional.normalize(weight.new_empty(width).normal_(0, 1), dim=0, eps=eps)
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    module.register_forward_pre_hook(hook)
    module.register_state_dict_post_hook(hook.mark_version)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Undo `spectral_norm`.

    Raises:
        ValueError: the parameter is not spectrally normalised.
    """
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            for saved, mark in module._state_dict_hooks.items():
                if getattr(mark, "__self__", None) is hook:
                    del module._state_dict_hooks[saved]
                    break
            return module
    raise ValueError(f"spectral_norm of '{name}' not found in {module}")
