"""Anomaly mode: an error in the backward pass names the line of the forward pass."""

from __future__ import annotations

import traceback
import warnings
from typing import Any

from tritorch.autograd.grad_mode import grad_mode_state


class AnomalySettings:
    """One for the process, as in PyTorch; every node looks at `enabled` when it is made."""

    __slots__ = ("check_nan", "enabled")

    def __init__(self) -> None:
        self.enabled = False
        self.check_nan = True


anomaly = AnomalySettings()


class detect_anomaly:
    """Inside, nodes remember the lines that made them, and nan in a gradient is an error.

    For debugging: it is slow.

    Args:
        check_nan: raise when a backward returns nan.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self._previous = (anomaly.enabled, anomaly.check_nan)
        anomaly.enabled, anomaly.check_nan = True, self.check_nan

    def __exit__(self, *exception: Any) -> None:
        anomaly.enabled, anomaly.check_nan = self._previous


class set_detect_anomaly:
    """Turn anomaly mode on or off from here on; as a context manager, until its end.

    Args:
        mode: on or off.
        check_nan: raise when a backward returns nan.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._previous = (anomaly.enabled, anomaly.check_nan)
        anomaly.enabled, anomaly.check_nan = mode, check_nan

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        anomaly.enabled, anomaly.check_nan = self._previous


def is_anomaly_enabled() -> bool:
    """Whether nodes remember the lines that made them."""
    return anomaly.enabled


def is_anomaly_check_nan_enabled() -> bool:
    """Whether nan in a gradient is an error (in anomaly mode)."""
    return anomaly.check_nan


def note_forward(node: Any) -> None:
    """Remember where a node is being recorded, and in whose backward."""
    extras = node.extras()
    extras.traceback = "".join(traceback.format_stack()[:-2])
    extras.parent = grad_mode_state.node


def warn_of_forward(node: Any) -> None:
    """Tell where the node whose backward failed was recorded, and where its parents were."""
    extras = node.extras()
    if extras.traceback is None:
        text = (
            f"Error detected in {node.name()}. No forward pass information available. Enable "
            "detect anomaly during forward pass for more information."
        )
        warnings.warn(text, stacklevel=4)
        return
    text = (
        f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n"
        f"{extras.traceback}"
    )
    parent = extras.parent
    while parent is not None:
        known = parent.extras()
        where = known.traceback or "(no forward information)"
        text += (
            f"\n\nPrevious calculation was induced by {parent.name()}. Traceback of forward call "
            f"that induced the previous calculation:\n{where}"
        )
        parent = known.parent
    warnings.warn(text, stacklevel=4)


def check_for_nan(node: Any, gradients: Any, has_nan: Any) -> None:
    """Raise when one of the gradients a node returned has nan."""
    for index, gradient in enumerate(gradients):
        if gradient is not None and has_nan(gradient):
            raise RuntimeError(
                f"Function '{node.name()}' returned nan values in its {index}th output."
            )
