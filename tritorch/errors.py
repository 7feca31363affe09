"""Every exception class of the library; each is a subclass of the builtin that PyTorch users catch.

Messages read `op: what is wrong, with the values. What to do.`
"""

from __future__ import annotations

import pickle


class TritorchError(Exception):
    """Base of all our own classes, for `except tritorch.errors.TritorchError`."""


class ConfigError(TritorchError, ValueError):
    """A setting (environment variable or `tritorch.config(...)`) has a value outside its accepted
    set.
    """


class CacheError(TritorchError, RuntimeError):
    """The kernel cache, or a pack of it, cannot be read, written or used here."""


class CompileError(TritorchError, RuntimeError):
    """A kernel could not be compiled; names the kernel and the stage."""


class TuneError(TritorchError, RuntimeError):
    """A kernel cannot be tuned, or what was measured cannot be kept."""


class UnsupportedOperation(CompileError):
    """The CPU target met an operation of Triton IR that it does not know; names both."""


class ParseError(CompileError):
    """Triton IR text that the parser does not understand; names the line."""


class DeviceError(TritorchError, RuntimeError):
    """A device that is absent, or operands on different devices."""


class OutOfMemoryError(TritorchError, RuntimeError, MemoryError):
    """An allocation failed after the cache was released; the message has the figures."""


class AcceleratorError(TritorchError, RuntimeError):
    """A GPU, or its driver, failed: an illegal access in a kernel, a call that was refused."""


class DeviceAssertError(TritorchError, RuntimeError):
    """`tl.device_assert` failed inside a kernel."""


class BoundsError(TritorchError, IndexError, RuntimeError):
    """An element of an index tensor is out of bounds (PyTorch raises one or the other, by
    operation).
    """


class IntegerDivisionError(TritorchError, ZeroDivisionError, RuntimeError):
    """Integers are divided by 0 (PyTorch raises a RuntimeError, and names ZeroDivisionError)."""


class ShapeError(TritorchError, RuntimeError):
    """Shapes that do not fit together."""


class DtypeError(TritorchError, RuntimeError):
    """A dtype that the operation does not accept."""


class LinAlgError(TritorchError, RuntimeError):
    """A matrix that a factorization cannot take: singular, not positive definite, not finite."""


class LoadError(TritorchError, RuntimeError, pickle.UnpicklingError):
    """A checkpoint that is damaged, or that names what `load` is not allowed to make."""


class OperandError(TritorchError, TypeError):
    """An argument of a kind that the operation does not take, most often no tensor.

    Attributes:
        operand: what was given.
    """

    def __init__(self, message: str, operand: object = None) -> None:
        super().__init__(message)
        self.operand = operand
