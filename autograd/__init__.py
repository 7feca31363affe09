"""Reverse-mode differentiation: the names of `torch.autograd`.

The graph itself knows tensors by protocol only (`tritorch.autograd.protocol`); `gradcheck` and
`functional` use what tensors offer in public.
"""

from tritorch.autograd import forward_ad, function, functional, graph
from tritorch.autograd.anomaly import (
    detect_anomaly,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    set_detect_anomaly,
)
from tritorch.autograd.differentiate import GradientEdge, backward, grad
from tritorch.autograd.edges import attach, edge
from tritorch.autograd.function import Function
from tritorch.autograd.grad_mode import (
    enable_grad,
    grad_mode_state,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from tritorch.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from tritorch.autograd.node import Node
from tritorch.autograd.variable import Variable

__all__ = [
    "Function",
    "GradcheckError",
    "GradientEdge",
    "Node",
    "Variable",
    "attach",
    "backward",
    "detect_anomaly",
    "edge",
    "enable_grad",
    "forward_ad",
    "function",
    "functional",
    "grad",
    "grad_mode_state",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
