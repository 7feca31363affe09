"""The steps of the less common optimizers on one element, see `multi_tensor.update`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritorch.kernels.templates.multi_tensor import adam_moments, direction, update
from tritorch.kernels.templates.template import helper

if TYPE_CHECKING:
    import triton.language as tl


@helper
def rms_direction(
    parameter, gradient, square_avg, alpha, added, weight_decay,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """The gradient, and the running mean of its square."""
    gradient = direction(parameter, gradient, weight_decay, MAXIMIZE, DECAY)
    return gradient, alpha * square_avg + added * gradient * gradient


@update(columns=3, writes=("parameter", "square_avg"))
def rmsprop(
    parameter, gradient, square_avg, learning_rate, alpha, added, eps, momentum, weight_decay,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """p -= lr * g / (sqrt(v) + eps). Source: Hinton et al., lecture 6, 2012."""
    gradient, square_avg = rms_direction(
        parameter, gradient, square_avg, alpha, added, weight_decay, MAXIMIZE, DECAY
    )
    parameter -= learning_rate * (gradient / (tl.sqrt(square_avg) + eps))
    return parameter, square_avg


@update(columns=4, writes=("parameter", "square_avg", "momentum_buffer"))
def rmsprop_momentum(
    parameter, gradient, square_avg, momentum_buffer,
    learning_rate, alpha, added, eps, momentum, weight_decay,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """The same with a running sum of the steps."""
    gradient, square_avg = rms_direction(
        parameter, gradient, square_avg, alpha, added, weight_decay, MAXIMIZE, DECAY
    )
    momentum_buffer = momentum * momentum_buffer + gradient / (tl.sqrt(square_avg) + eps)
    return parameter - learning_rate * momentum_buffer, square_avg, momentum_buffer


@update(columns=4, writes=("parameter", "square_avg", "grad_avg"))
def rmsprop_centered(
    parameter, gradient, square_avg, grad_avg,
    learning_rate, alpha, added, eps, momentum, weight_decay,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """The variance instead of the mean square. Source: Graves, 2013."""
    gradient, square_avg = rms_direction(
        parameter, gradient, square_avg, alpha, added, weight_decay, MAXIMIZE, DECAY
    )
    grad_avg += added * (gradient - grad_avg)
    parameter -= learning_rate * (gradient / (tl.sqrt(square_avg - grad_avg * grad_avg) + eps))
    return parameter, square_avg, grad_avg


@update(columns=5, writes=("parameter", "square_avg", "momentum_buffer", "grad_avg"))
def rmsprop_centered_momentum(
    parameter, gradient, square_avg, momentum_buffer, grad_avg,
    learning_rate, alpha, added, eps, momentum, weight_decay,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """Centered, with a running sum of the steps."""
    gradient, square_avg = rms_direction(
        parameter, gradient, square_avg, alpha, added, weight_decay, MAXIMIZE, DECAY
    )
    grad_avg += added * (gradient - grad_avg)
    deviation = tl.sqrt(square_avg - grad_avg * grad_avg) + eps
    momentum_buffer = momentum * momentum_buffer + gradient / deviation
    return parameter - learning_rate * momentum_buffer, square_avg, momentum_buffer, grad_avg


@update(columns=3, writes=("parameter", "total"))
def adagrad(
    parameter, gradient, total, learning_rate, eps, weight_decay,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """p -= lr * g / (sqrt(sum of g^2) + eps). Source: Duchi et al., 2011."""
    gradient = direction(parameter, gradient, weight_decay, MAXIMIZE, DECAY)
    total += gradient * gradient
    return parameter - learning_rate * (gradient / (tl.sqrt(total) + eps)), total


@update(columns=4, writes=("parameter", "square_avg", "acc_delta"))
def adadelta(
    parameter, gradient, square_avg, acc_delta, learning_rate, rho, added, eps, weight_decay,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """Steps in the size of the last ones. Source: Zeiler, 2012."""
    gradient, square_avg = rms_direction(
        parameter, gradient, square_avg, rho, added, weight_decay, MAXIMIZE, DECAY
    )
    delta = tl.sqrt(acc_delta + eps) / tl.sqrt(square_avg + eps) * gradient
    acc_delta = rho * acc_delta + added * delta * delta
    return parameter - learning_rate * delta, square_avg, acc_delta


@update(columns=4, writes=("parameter", "exp_avg", "exp_inf"))
def adamax(
    parameter, gradient, exp_avg, exp_inf, step_size, added1, beta2, eps, weight_decay,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """Adam with the largest gradient for the root. Source: Kingma and Ba, 2015, section 7.1."""
    gradient = direction(parameter, gradient, weight_decay, MAXIMIZE, DECAY)
    exp_avg += added1 * (gradient - exp_avg)
    exp_inf = tl.maximum(beta2 * exp_inf, tl.abs(gradient) + eps)
    return parameter - step_size * (exp_avg / exp_inf), exp_avg, exp_inf


@update(columns=4, writes=("parameter", "exp_avg", "exp_avg_sq"))
def nadam(
    parameter, gradient, exp_avg, exp_avg_sq,
    gradient_size, mean_size, decay, added1, beta2, added2, inverse_root2, eps,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr, DECOUPLED: tl.constexpr,
):  # fmt: skip
    """Adam with Nesterov's look ahead. Source: Dozat, 2016."""
    used = direction(parameter, gradient, decay, MAXIMIZE, DECAY and not DECOUPLED)
    parameter, exp_avg, exp_avg_sq = adam_moments(
        parameter, gradient, exp_avg, exp_avg_sq, decay, added1, beta2, added2,
        MAXIMIZE, DECAY, DECOUPLED,
    )  # fmt: skip
    root = tl.sqrt(exp_avg_sq) * inverse_root2 + eps
    parameter -= gradient_size * (used / root) + mean_size * (exp_avg / root)
    return parameter, exp_avg, exp_avg_sq


@update(columns=4, writes=("parameter", "exp_avg", "exp_avg_sq"))
def radam(
    parameter, gradient, exp_avg, exp_avg_sq,
    step_size, decay, added1, beta2, added2, eps, trusted,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr, DECOUPLED: tl.constexpr,
):  # fmt: skip
    """Adam that trusts the root only when its variance is known (`trusted` is 1, else 0).

    Source: Liu et al., 2019.
    """
    parameter, exp_avg, exp_avg_sq = adam_moments(
        parameter, gradient, exp_avg, exp_avg_sq, decay, added1, beta2, added2,
        MAXIMIZE, DECAY, DECOUPLED,
    )  # fmt: skip
    root = tl.where(trusted > 0.0, tl.sqrt(exp_avg_sq) + eps, 1.0)
    parameter -= step_size * (exp_avg / root)
    return parameter, exp_avg, exp_avg_sq


@update(columns=4, writes=("parameter", "prev", "step_size"))
def rprop(
    parameter, gradient, prev, step_size, eta_minus, eta_plus, smallest, largest,
    MAXIMIZE: tl.constexpr,
):  # fmt: skip
    """A step size per element, from the signs of two gradients. Source: Riedmiller, 1993."""
    gradient = direction(parameter, gradient, 0.0, MAXIMIZE, False)
    product = gradient * prev
    factor = tl.where(product > 0, eta_plus, tl.where(product < 0, eta_minus, 1.0))
    step_size = tl.minimum(tl.maximum(step_size * factor, smallest), largest)
    gradient = tl.where(product < 0, 0.0, gradient)
    sign = tl.where(gradient > 0, 1.0, tl.where(gradient < 0, -1.0, gradient))
    return parameter - sign * step_size, gradient, step_size


@update(columns=3, writes=("parameter", "ax"))
def asgd(
    parameter, gradient, ax, eta, kept, mu, weight_decay,
    MAXIMIZE: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """Gradient descent and the mean of its path. Source: Polyak and Juditsky, 1992."""
    gradient = direction(parameter, gradient, weight_decay, MAXIMIZE, DECAY)
    parameter = kept * parameter - eta * gradient
    ax = tl.where(mu == 1.0, parameter, ax + mu * (parameter - ax))
    return parameter, ax


@update(columns=2, writes=("average",))
def average_toward(average, parameter, share):
    """A running average takes over a share of what is averaged."""
    return average + share * (parameter - average)


@update(columns=3, writes=("momentum_buffer", "direction"))
def muon_momentum(
    gradient, momentum_buffer, direction, added, momentum, NESTEROV: tl.constexpr,
):  # fmt: skip
    """The running mean of gradients, and the matrix that is to be made orthogonal."""
    momentum_buffer += added * (gradient - momentum_buffer)
    direction = momentum_buffer
    if NESTEROV:
        direction = gradient + momentum * (momentum_buffer - gradient)
    return momentum_buffer, direction


@update(columns=2, writes=("parameter",))
def decay_and_step(parameter, direction, kept, rate):
    """A share of the parameter is kept, and a step is taken."""
    return kept * parameter - rate * direction
