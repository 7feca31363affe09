"""Every further optimizer over 20 steps; the expected parameters are PyTorch 2.13's."""

from __future__ import annotations

from typing import Any

import pytest

import tritorch as torch
from tritorch.runtime.statistics import snapshot

CASES: list[tuple[str, dict[str, Any], list[float]]] = [
    ("RMSprop", {}, [0.6539253, 0.81045353, 0.25389072, -0.51800507, -0.98045278, -0.31080079]),
    (
        "RMSprop",
        {"momentum": 0.9, "weight_decay": 0.1},
        [1.9275153, 0.79396635, -1.1376976, -2.0067604, -0.88345277, 0.82703197],
    ),
    (
        "RMSprop",
        {"centered": True, "maximize": True},
        [0.67504376, 0.81045353, 0.23261383, -0.53967601, -0.98045546, -0.2903077],
    ),
    (
        "RMSprop",
        {"centered": True, "momentum": 0.5},
        [1.0942959, 0.81034952, -0.19169335, -0.97646266, -0.98032987, 0.10885055],
    ),
    (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3},
        [0.44811243, 0.77251339, 0.45934618, -0.3095969, -0.9285782, -0.51201195],
    ),
    (
        "Adadelta",
        {"lr": 0.5, "weight_decay": 0.1},
        [0.034467041, 0.81244326, 0.87481606, 0.10663349, -0.7893101, -0.92446458],
    ),
    (
        "Adamax",
        {"lr": 0.1, "weight_decay": 0.1},
        [1.2076446, 0.78479928, -0.31925172, -1.0956357, -0.91129017, 0.23567322],
    ),
    ("NAdam", {"lr": 0.1}, [1.2132871, 0.8899886, -0.31155911, -1.098435, -0.98175383, 0.22427471]),
    (
        "NAdam",
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        [0.034035675, 0.813425, 0.8716532, 0.10651644, -0.787175, -0.92109543],
    ),
    (
        "RAdam",
        {"lr": 0.1, "weight_decay": 0.1},
        [1.4593033, 0.75983518, -0.625723, -1.4812241, -0.94543427, 0.39954776],
    ),
    (
        "RAdam",
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
        [0.022491695, 0.83859766, 0.88420165, 0.11526988, -0.7584312, -0.93709183],
    ),
    ("Rprop", {"lr": 0.2}, [1.4952874, 0.813519, -0.6318996, -1.5148133, -0.98117739, 0.43245497]),
    (
        "ASGD",
        {"t0": 3, "lambd": 0.01, "weight_decay": 0.1},
        [0.60154939, 0.81604463, 0.27554789, -0.53024805, -0.81714803, -0.40094283],
    ),
    (
        "Adafactor",
        {"lr": 0.3, "weight_decay": 0.1},
        [1.3836633, 0.84107172, -0.58698547, -1.3676846, -0.88787377, 0.39957628],
    ),
    (
        "Muon",
        {"lr": 0.01},
        [0.0052702422, 0.74946296, 0.74651062, -0.0023147909, -0.82347769, -0.95436209],
    ),
    (
        "Muon",
        {"nesterov": False, "adjust_lr_fn": "match_rms_adamw"},
        [0.00015229173, 0.83784336, 0.90244168, 0.13590632, -0.75744027, -0.95747054],
    ),
    (
        "LBFGS",
        {"max_iter": 2, "lr": 0.1},
        [1.1941538, 0.81473064, -0.30710885, -1.1353331, -0.94929796, 0.15644822],
    ),
    (
        "LBFGS",
        {"max_iter": 4, "history_size": 2, "line_search_fn": "strong_wolfe"},
        [1.5, 0.81045353, -0.62422025, -1.4849887, -0.98046541, 0.4254933],
    ),
    (
        "Adam",
        {"lr": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.1},
        [1.4529881, 0.79275984, -0.6675759, -1.360316, -1.009094, 0.56914711],
    ),
]


STATE = {
    "RMSprop": {"step", "square_avg"},
    "Adagrad": {"step", "sum"},
    "Adadelta": {"step", "square_avg", "acc_delta"},
    "Adamax": {"step", "exp_avg", "exp_inf"},
    "NAdam": {"step", "mu_product", "exp_avg", "exp_avg_sq"},
    "RAdam": {"step", "exp_avg", "exp_avg_sq"},
    "Rprop": {"step", "prev", "step_size"},
    "ASGD": {"step", "eta", "mu", "ax"},
    "Adafactor": {"step", "row_var", "col_var"},
    "Muon": {"momentum_buffer"},
}


def problem(name: str, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    parameter = torch.nn.Parameter(torch.sin(torch.arange(6.0)).reshape(2, 3))
    goal = torch.cos(torch.arange(6.0)).reshape(2, 3) * 1.5
    optimizer = getattr(torch.optim, name)([parameter], **options)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((parameter - goal) ** 2).sum() + 0.1 * ((parameter - goal) ** 4).sum()
        loss = -loss if options.get("maximize") else loss
        loss.backward()
        return loss

    return parameter, optimizer, closure


@pytest.mark.parametrize(("name", "options", "expected"), CASES, ids=lambda value: str(value)[:60])
def test_twenty_steps(name: str, options: dict[str, Any], expected: list[float]) -> None:
    """Saved and loaded half way."""
    parameter, optimizer, closure = problem(name, options)
    for _ in range(10):
        optimizer.step(closure)
    saved = optimizer.state_dict()
    assert STATE.get(name, set()) <= set(saved["state"][0])
    for number in {"step", "mu_product", "eta", "mu"} & set(saved["state"][0]):
        assert saved["state"][0][number].shape == ()
    optimizer = type(optimizer)([parameter], **options)
    optimizer.load_state_dict(saved)
    for _ in range(10):
        optimizer.step(closure)
    assert parameter.flatten().tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


FUSED = sorted({name for name, _, _ in CASES} - {"Adafactor", "Muon", "LBFGS"})


@pytest.mark.parametrize("name", FUSED)
def test_a_step_is_one_launch(name: str) -> None:
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in ((3,), (2, 5), ())]
    optimizer = getattr(torch.optim, name)(parameters)
    for p in parameters:
        p.grad = torch.ones_like(p)
    optimizer.step()
    before = snapshot().launches
    optimizer.step()
    assert snapshot().launches - before == 1


@pytest.mark.parametrize(
    ("search", "most", "expected", "calls"),
    [
        (None, 100, [0.024955415336543323, -0.012988215830157404], 100),
        ("strong_wolfe", 25, [0.7887038200403467, 0.6122685417325051], 31),
        ("strong_wolfe", 100, [0.9999814210791366, 0.9999619651810989], 43),
    ],
)
def test_lbfgs_in_rosenbrock_valley(
    search: str | None, most: int, expected: list[float], calls: int
) -> None:
    """PyTorch's way down, call by call: interpolation, zoom and history are the same."""
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    rate = 1.0 if search else 0.1
    optimizer = torch.optim.LBFGS([x], lr=rate, max_iter=most, line_search_fn=search)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(24.2)
    assert x.tolist() == pytest.approx(expected, rel=1e-9)
    assert optimizer.state[x]["func_evals"] == calls


def test_averaged_path_and_errors() -> None:
    parameter, optimizer, closure = problem("ASGD", {"t0": 0})
    optimizer.step(closure)
    assert optimizer.state[parameter]["ax"].tolist() == parameter.tolist()
    with pytest.raises(ValueError, match="Invalid eta values"):
        torch.optim.Rprop([parameter], etas=(1.5, 1.2))
    with pytest.raises(ValueError, match="Muon only supports 2D parameters"):
        torch.optim.Muon([torch.ones(3, requires_grad=True)])
    with pytest.raises(ValueError, match="doesn't support per-parameter options"):
        torch.optim.LBFGS([{"params": [parameter]}, {"params": [torch.ones(1)]}])
    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        torch.optim.LBFGS([parameter], line_search_fn="armijo").step(closure)
