"""Searches on a GPU, which is simulated here: the figures mean nothing, the way there is real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tritorch as torch
from tests.runtime.cuda.simulated import simulated_gpu
from tritorch.cli import main
from tritorch.runtime import get_target
from tritorch.tune import clocks, problems, roofline, worker
from tritorch.tune.clocks import DeviceClock, sets_of
from tritorch.tune.database import Database
from tritorch.tune.measure import Measure, Wrong
from tritorch.tune.session import Options, Session, _places

SERVE = """
from tests.runtime.cuda.simulated import simulated_gpu
with simulated_gpu():
    from tritorch.tune.worker import serve
    serve()
"""


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Here and in the processes that measure; samples are short."""
    monkeypatch.setattr(worker, "_SERVE", SERVE)
    monkeypatch.setitem(clocks.SAMPLE_SECONDS, "cuda", 1e-4)
    with simulated_gpu() as found:
        yield found


def test_a_search(database: Database) -> None:
    """Candidates of the GPU's space, rows under its name; the CPU's choices are not touched."""
    options = Options(device="cuda", budget=600.0, strategy="random", trials=3, workers=1)
    outcome = Session("sort_rows", {"n_cols": 100}, None, options).run()
    assert outcome.target == get_target("cuda").identity != get_target("cpu").identity
    assert outcome.tried == 3 and outcome.stopped == "trials"
    assert {row.target for row in database.rows()} == {outcome.target}
    tried = [row.config for row in database.rows()]
    assert all("num_warps" in config for config in tried if config != outcome.best.config)


def test_what_is_measured_lies_on_the_device() -> None:
    measure = Measure("softmax_rows_backward", {"n_cols": 40}, None, "cuda:1")
    assert torch.cuda.current_device() == 1
    assert measure.time(measure.candidates[0]) > 0
    assert len(measure._ready) > 1, "one set of inputs would stay in the second-level cache"
    for y, leaves, g in measure._ready:
        assert {str(x.device) for x in (y, *leaves, g)} == {"cuda:1"}
    measure.check(measure.candidates[0], runs=3)
    measure._expected[0][3, 5] += 1
    with pytest.raises(Wrong, match=r"1 of .* elements of output 0"):
        measure.check(measure.candidates[0])
    torch.cuda.set_device(0)


def test_the_reference_is_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for dtypes that have no wider one."""
    measure = Measure("sort_rows", {"n_cols": 100}, "int32", "cuda")
    rows = measure._workload.inputs[0].numpy()
    rows.sort(1)
    assert (measure._expected[0] == rows).all() and measure._allowed[0] == 0


def test_every_kernel_of_the_list_runs_there() -> None:
    """Those that a GPU does not choose are none of its problems."""
    small = {"m": 32, "n": 32, "k": 32, "side": 6, "batch": 2, "kept": 40, "reduced": 40,
             "channels": 4, "n_queries": 32, "n_keys": 32, "numel": 512, "n_cols": 100,
             "n_rows": 64, "n_classes": 30, "depth": 16, "v_depth": 16}  # fmt: skip
    found = problems.names("cuda:1")
    assert {"sort_rows", "write_indexed", "embedding_backward_atomic"} <= set(found)
    assert "radix_sort_rows" in set(problems.names()) - set(found)
    for name in ("sort_rows", "write_indexed", "embedding_backward_atomic"):
        sizes = {n: v for n, v in small.items() if n in problems.PROBLEMS[name].sizes}
        assert Measure(name, sizes, None, "cuda").candidates


@pytest.mark.parametrize(
    ("nbytes", "cache", "free", "expected"),
    [
        (1 << 20, 50 << 20, 1 << 40, 16),
        (60 << 20, 50 << 20, 1 << 40, 3),
        (1 << 30, 50 << 20, 1 << 40, 2),
        (1 << 30, 50 << 20, 5 << 30, 1),
        (1 << 30, 50 << 20, 0, 1),
    ],
)
def test_sets_of_inputs(nbytes: int, cache: int, free: int, expected: int) -> None:
    class Input:
        pass

    given = Input()
    given.nbytes = nbytes  # type: ignore[attr-defined]
    assert sets_of([given], cache, free) == expected  # type: ignore[list-item]


def test_calls_are_recorded_or_else_launched() -> None:
    """Each set as often; what waits for the device cannot be recorded, and is timed anyway."""
    inputs = [[torch.full((8,), float(i), device="cuda")] for i in range(3)]
    seen: list[float] = []
    clock = DeviceClock()

    def call(x: torch.Tensor) -> None:
        x * 2
        seen.append(x.data_ptr())

    assert clock.sample(call, inputs) > 0 and clock.recorded
    counts = {address: seen.count(address) for address in seen}
    assert len(counts) == 3 and len(set(counts.values())) == 1

    def refuses(x: torch.Tensor) -> None:
        x * 2
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError("operation not permitted when stream is capturing")

    assert clock.sample(refuses, inputs) > 0 and not clock.recorded


def test_roofs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_COPIED_BY_GPU", 1 << 12)
    monkeypatch.setattr(roofline, "_SIDE", 32)
    roofline._device_peaks.cache_clear()
    found = roofline.peaks(device="cuda")
    roofline._device_peaks.cache_clear()
    assert set(found) == {"gb_per_s", "gflop_per_s", "half_gflop_per_s"}
    peak = {"gb_per_s": 1.0, "gflop_per_s": 10.0, "half_gflop_per_s": 100.0}
    assert roofline.share(0, 1e9, 1.0, peak, {"dtype": "float32"}) == pytest.approx(0.1)
    assert roofline.share(0, 1e9, 1.0, peak, {"dtypes": "bfloat16 bfloat16"}) == pytest.approx(0.01)
    assert roofline.share(5e8, 1e9, 1.0, peak, {"dtype": "float16"}) == pytest.approx(0.5)


def test_a_worker_for_each_gpu() -> None:
    assert _places("cuda", None)[:2] == ["cuda:0", "cuda:1"]
    assert set(_places("cuda:1", None)) == {"cuda:1"}
    assert _places("cuda", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert _places("cpu", 2) == ["cpu", "cpu"]


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["tune", "run", "matrix_vector_rows", "--shape", "m=8,k=100", "--device"]
    assert main.run([*command, "cuda:0", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == get_target("cuda").identity
    assert main.run([*command, "cuda:7"]) == 1
    assert "the devices are cuda:0 to cuda:1" in capsys.readouterr().err
