"""Schedulers that cycle, follow each other or wait for a plateau: numbers of PyTorch 2.13."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tritorch as torch
from tritorch.optim import lr_scheduler as L

#: (scheduler, rate of the first group at 19 steps, its momentum)
CASES: dict[str, tuple[Callable[[Any], Any], list[float], list[float]]] = {
    "mult": (
        lambda o: L.MultiplicativeLR(o, lambda e: 0.9 + 0.01 * e),
        [
            0.1,
            0.091,
            0.08372,
            0.0778596,
            0.073188024,
            0.0695286228,
            0.0667474779,
            0.0647450536,
            0.0634501525,
            0.062815651,
            0.062815651,
            0.0634438075,
            0.0647126836,
            0.0666540641,
            0.0693202267,
            0.072786238,
            0.0771534123,
            0.0825541512,
            0.0891584833,
        ],
        [],
    ),
    "const": (
        lambda o: L.ConstantLR(o, 0.5, 4),
        [
            0.05,
            0.05,
            0.05,
            0.05,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
        ],
        [],
    ),
    "poly": (
        lambda o: L.PolynomialLR(o, 7, 2.0),
        [
            0.1,
            0.0734693878,
            0.0510204082,
            0.0326530612,
            0.0183673469,
            0.00816326531,
            0.00204081633,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
        ],
        [],
    ),
    "warm": (
        lambda o: L.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
        [
            0.1,
            0.0775,
            0.0325,
            0.1,
            0.0939711432,
            0.0775,
            0.055,
            0.0325,
            0.0160288568,
            0.1,
            0.0984666622,
            0.0939711432,
            0.0868198052,
            0.0775,
            0.066646857,
            0.055,
            0.043353143,
            0.0325,
            0.0231801948,
        ],
        [],
    ),
    "cyc": (
        lambda o: L.CyclicLR(o, 0.01, 0.1, 3, 4),
        [
            0.01,
            0.04,
            0.07,
            0.1,
            0.0775,
            0.055,
            0.0325,
            0.01,
            0.04,
            0.07,
            0.1,
            0.0775,
            0.055,
            0.0325,
            0.01,
            0.04,
            0.07,
            0.1,
            0.0775,
        ],
        [
            0.9,
            0.866666667,
            0.833333333,
            0.8,
            0.825,
            0.85,
            0.875,
            0.9,
            0.866666667,
            0.833333333,
            0.8,
            0.825,
            0.85,
            0.875,
            0.9,
            0.866666667,
            0.833333333,
            0.8,
            0.825,
        ],
    ),
    "cyc2": (
        lambda o: L.CyclicLR(o, [0.01, 0.02], [0.1, 0.2], 3, mode="triangular2"),
        [
            0.01,
            0.04,
            0.07,
            0.1,
            0.07,
            0.04,
            0.01,
            0.025,
            0.04,
            0.055,
            0.04,
            0.025,
            0.01,
            0.0175,
            0.025,
            0.0325,
            0.025,
            0.0175,
            0.01,
        ],
        [],
    ),
    "cyce": (
        lambda o: L.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9, cycle_momentum=False),
        [
            0.01,
            0.037,
            0.0586,
            0.07561,
            0.049366,
            0.0277147,
            0.01,
            0.024348907,
            0.0358280326,
            0.044867844,
            0.0309207064,
            0.0194143179,
            0.01,
            0.0176255975,
            0.0237260755,
            0.0285302019,
            0.0211181211,
            0.0150031545,
            0.01,
        ],
        [],
    ),
    "one": (
        lambda o: L.OneCycleLR(o, 0.5, 20),
        [
            0.02,
            0.0658359214,
            0.185835921,
            0.334164079,
            0.454164079,
            0.5,
            0.493732003,
            0.475242316,
            0.445458089,
            0.405872827,
            0.358471501,
            0.305631011,
            0.250001,
            0.194370989,
            0.141530499,
            0.094129173,
            0.0545439112,
            0.024759684,
            0.00626999688,
        ],
        [
            0.95,
            0.94045085,
            0.91545085,
            0.88454915,
            0.85954915,
            0.85,
            0.851253604,
            0.854951557,
            0.860908426,
            0.86882551,
            0.878305813,
            0.888873953,
            0.9,
            0.911126047,
            0.921694187,
            0.93117449,
            0.939091574,
            0.945048443,
            0.948746396,
        ],
    ),
    "one3": (
        lambda o: L.OneCycleLR(
            o, [0.5, 0.6], epochs=4, steps_per_epoch=5, three_phase=True, anneal_strategy="linear"
        ),
        [
            0.02,
            0.116,
            0.212,
            0.308,
            0.404,
            0.5,
            0.404,
            0.308,
            0.212,
            0.116,
            0.02,
            0.017778,
            0.015556,
            0.013334,
            0.011112,
            0.00889,
            0.006668,
            0.004446,
            0.002224,
        ],
        [
            0.95,
            0.93,
            0.91,
            0.89,
            0.87,
            0.85,
            0.87,
            0.89,
            0.91,
            0.93,
            0.95,
            0.95,
            0.95,
            0.95,
            0.95,
            0.95,
            0.95,
            0.95,
            0.95,
        ],
    ),
    "chain": (
        lambda o: L.ChainedScheduler(
            [L.ConstantLR(o, 0.1, 4), L.ExponentialLR(o, 0.9)], optimizer=o
        ),
        [
            0.01,
            0.009,
            0.0081,
            0.00729,
            0.06561,
            0.059049,
            0.0531441,
            0.04782969,
            0.043046721,
            0.0387420489,
            0.034867844,
            0.0313810596,
            0.0282429536,
            0.0254186583,
            0.0228767925,
            0.0205891132,
            0.0185302019,
            0.0166771817,
            0.0150094635,
        ],
        [],
    ),
    "seq2": (
        lambda o: L.SequentialLR(
            o,
            [
                L.LinearLR(o, 0.1, total_iters=3),
                L.CosineAnnealingLR(o, 6),
                L.StepLR(o, 2),
                L.PolynomialLR(o, 4),
                L.MultiStepLR(o, [2]),
            ],
            [4, 9, 12, 16],
        ),
        [
            0.01,
            0.04,
            0.07,
            0.1,
            0.1,
            0.0933012702,
            0.075,
            0.05,
            0.025,
            0.1,
            0.1,
            0.01,
            0.1,
            0.075,
            0.05,
            0.025,
            0.1,
            0.1,
            0.01,
        ],
        [],
    ),
}


def optimizer() -> Any:
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": [parameters[0]]}, {"params": [parameters[1]], "lr": 0.3}]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


@pytest.mark.parametrize("name", CASES)
def test_rates(name: str) -> None:
    """Also when the scheduler is saved and loaded half way."""
    make, rates, momenta = CASES[name]
    o = optimizer()
    scheduler = make(o)
    for step, rate in enumerate(rates):
        assert o.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-7, abs=1e-12)
        assert scheduler.get_last_lr() == [group["lr"] for group in o.param_groups]
        if momenta:
            assert o.param_groups[0]["momentum"] == pytest.approx(momenta[step], rel=1e-7)
        if step == 9:
            saved, groups = scheduler.state_dict(), o.state_dict()
            o = optimizer()
            scheduler = make(o)
            o.load_state_dict(groups)
            scheduler.load_state_dict(saved)
        scheduler.step()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("min", [0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.02, 0.02]),
        ("max", [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.02, 0.02]),
    ],
)
def test_plateau(mode: str, expected: list[float]) -> None:
    o = optimizer()
    scheduler = L.ReduceLROnPlateau(o, mode, 0.5, 1, 0.01, "abs", 1, min_lr=[0.02, 0.1])
    sine = [0.0, 0.841, 0.909, 0.141, -0.757, -0.959, -0.279, 0.657, 0.989, 0.412, -0.544, -1.0]
    for value, rate in zip(sine, expected, strict=True):
        scheduler.step(torch.tensor(value))
        assert o.param_groups[0]["lr"] == pytest.approx(rate)


def test_plateau_by_default() -> None:
    """Better is less by a share of 1e-4; the eleventh epoch that is not reduces to a tenth."""
    o = optimizer()
    rate = o.param_groups[0]["lr"]
    scheduler = L.ReduceLROnPlateau(o)
    scheduler.step(1.0)
    scheduler.step(0.9)
    for _ in range(10):
        scheduler.step(0.89995)
        assert scheduler.get_last_lr()[0] == rate
    scheduler.step(0.89995)
    assert scheduler.get_last_lr()[0] == pytest.approx(rate / 10)
    assert (scheduler.best, scheduler.num_bad_epochs, scheduler.last_epoch) == (0.9, 0, 13)
    for group in o.param_groups:
        group["lr"] = 1e-9
    for _ in range(11):
        scheduler.step(1.0)
    assert scheduler.get_last_lr() == [1e-9, 1e-9]  # too small a step to be taken
    o.param_groups[0]["lr"] = 1.0
    most = L.ReduceLROnPlateau(o, "max", patience=0)
    for value, reduced in ((1.0, False), (1.00005, True), (1.001, False), (0.0, True)):
        before = o.param_groups[0]["lr"]
        most.step(value)
        assert (o.param_groups[0]["lr"] < before) == reduced


def test_restarts_at_a_fraction_of_an_epoch() -> None:
    scheduler = L.CosineAnnealingWarmRestarts(optimizer(), 4, 2)
    scheduler.step(2)
    assert scheduler.get_last_lr()[0] == pytest.approx(0.05)
    scheduler.step(8.0)
    assert (scheduler.T_cur, scheduler.T_i) == (4.0, 8)


def test_errors() -> None:
    o = optimizer()
    with pytest.raises(ValueError, match="You must define either total_steps"):
        L.OneCycleLR(o, 0.1)
    with pytest.raises(ValueError, match="Expected positive integer T_0"):
        L.CosineAnnealingWarmRestarts(o, 0)
    with pytest.raises(ValueError, match="must have the same length"):
        L.CyclicLR(o, [0.1], 0.2)
    with pytest.raises(ValueError, match="must support momentum or beta1"):
        L.CyclicLR(torch.optim.Adagrad([torch.nn.Parameter(torch.ones(1))]), 0.1, 0.2)
    with pytest.raises(ValueError, match=r"Factor should be < 1\.0"):
        L.ReduceLROnPlateau(o, factor=1.0)
    with pytest.raises(ValueError, match="expects at least one scheduler"):
        L.ChainedScheduler([])
    with pytest.raises(ValueError, match="number of milestones to be equal to 2"):
        L.SequentialLR(o, [L.ConstantLR(o)], [1, 2])
    plateau, other = L.ReduceLROnPlateau(o), optimizer()
    for several in (L.ChainedScheduler, lambda given: L.SequentialLR(o, given, [1])):
        with pytest.raises(ValueError, match="does not support `ReduceLROnPlateau`"):
            several([L.ConstantLR(o), plateau])
        with pytest.raises(ValueError, match="at index 1 belongs to another"):
            several([L.ConstantLR(o), L.ConstantLR(other)])
        with pytest.raises(TypeError, match="at index 1 should have `optimizer`"):
            several([L.ConstantLR(o), o])
    with pytest.raises(ValueError, match="mode most is unknown"):
        L.ReduceLROnPlateau(o, "most")
    with pytest.raises(ValueError, match="threshold mode share is unknown"):
        L.ReduceLROnPlateau(o, threshold_mode="share")
    with pytest.raises(ValueError, match="expected 2 min_lrs, got 1"):
        L.ReduceLROnPlateau(o, min_lr=[0.1])
    with pytest.raises(TypeError, match="int is not an Optimizer"):
        L.PolynomialLR(3)
    scheduler = L.OneCycleLR(o, 0.1, 1, pct_start=0.0)
    scheduler.step()
    with pytest.raises(ValueError, match="Tried to step 2 times"):
        scheduler.step()
