"""`tritorch.profiler`: what it sees, and that nothing is left of it."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest

import tritorch as torch
from tests.runtime.cuda.simulated import simulated_gpu
from tritorch import nn
from tritorch.profiler import ProfilerAction, ProfilerActivity, profile, record_function, schedule

CPU = {ProfilerActivity.CPU}


def names(prof: profile) -> list[str]:
    return [event.name for event in prof.events()]


def step(model: Any, optimizer: Any) -> None:
    with record_function("forward"):
        loss = nn.functional.mse_loss(model(torch.ones(3, 4)), torch.zeros(3, 2))
    loss.backward()
    optimizer.step()


def test_a_training_step() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    add = torch.add.__code__
    step(model, optimizer)
    with profile(activities=CPU, record_shapes=True) as prof:
        assert torch.add.__code__ is not add
        step(model, optimizer)
    assert torch.add.__code__ is add  # nothing is left of it
    forward, *inner = prof.events()
    assert forward.name == "forward" and forward.is_user_annotation
    inner = [event for event in inner if event.cpu_parent is forward]
    found = [event.name for event in inner]
    assert [name for name in found if name in ("linear", "tanh", "mse_loss")] == [
        "linear", "tanh", "linear", "mse_loss",
    ]  # fmt: skip
    linear = next(event for event in inner if event.name == "linear")
    assert linear.input_shapes == [[3, 4], [5, 4], [5]]
    averages = {row.key: row for row in prof.key_averages()}
    assert averages["linear"].count == 2 and averages["AddmmBackward0"].count == 2
    assert averages["MseLossBackward0"].kind == averages["TanhBackward0"].kind == "gradient"
    assert averages["Optimizer.step#SGD.step"].count == 1
    by_shape = prof.key_averages(group_by_input_shape=True)
    assert sum(row.key == "linear" for row in by_shape) == 2
    kernels = prof.kernels()
    assert kernels is not None and kernels.generated == 0
    assert kernels.launches_by_kernel["matmul_tile"] >= 4
    names_before = len(prof.events())
    step(model, optimizer)
    assert len(prof.events()) == names_before


def test_times_nest_and_add_up() -> None:
    with profile(activities=CPU) as prof, record_function("outer"), record_function("inner"):
        torch.einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(3, 4))
    whole = prof.events()
    assert names(prof)[:2] == ["outer", "inner"] and "einsum" in names(prof)
    for event in whole:
        start, end = event.time_range
        assert 0 <= start <= end
        for child in event.cpu_children:
            assert child.cpu_parent is event
            assert start <= child.time_range.start and child.time_range.end <= end
        assert event.self_cpu_time_total >= -1e-6
    assert whole.self_cpu_time_total == pytest.approx(whole[0].cpu_time_total)
    assert whole.total_average().count == len(whole)


def test_errors_leave_no_call_open() -> None:
    with profile(activities=CPU) as prof:
        with pytest.raises(RuntimeError), record_function("wrong"):
            torch.matmul(torch.ones(2, 3), torch.ones(2, 3))
        torch.neg(torch.ones(2))
    negation = prof.events()[-1]
    assert negation.name == "neg" and negation.cpu_parent is None


def test_every_thread_has_its_own_calls() -> None:
    def work() -> None:
        with record_function("work"):
            torch.exp(torch.ones(2))

    with profile(activities=CPU) as prof, record_function("main"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    events = {event.name: event for event in prof.events()}
    assert events["work"].cpu_parent is None and events["exp"].cpu_parent is events["work"]
    assert events["work"].thread != events["main"].thread


def test_other_interceptions_go_on() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    wanted = torch.vmap(torch.sum)(x)
    with profile(activities=CPU) as prof:
        assert torch.vmap(torch.sum)(x).equal(wanted)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.mm(x, x.T).dtype is torch.bfloat16
    assert {"sum", "mm"} <= set(names(prof))


def test_memory_and_stack() -> None:
    with profile(activities=CPU, profile_memory=True, with_stack=True) as prof:
        kept = torch.empty(1 << 18)
    (event,) = prof.events()
    assert kept.numel() == 1 << 18
    assert event.cpu_memory_usage == event.self_cpu_memory_usage == 1 << 20
    assert event.stack[0].startswith(__file__) and event.stack[0].endswith("test_memory_and_stack")
    assert "1.00 Mb" in prof.key_averages().table()


N, W, R, S = ProfilerAction  # none, warm up, record, record and save


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"wait": 0, "warmup": 0, "active": 1}, [S, S, S]),
        ({"wait": 1, "warmup": 1, "active": 2}, [N, W, R, S, N, W, R, S, N]),
        ({"wait": 1, "warmup": 1, "active": 2, "repeat": 1}, [N, W, R, S, N, N, N]),
        ({"wait": 0, "warmup": 1, "active": 1, "skip_first": 2}, [N, N, W, S, W, S]),
        ({"wait": 2, "warmup": 0, "active": 1, "skip_first_wait": 1}, [S, N, N, S]),
    ],
)
def test_schedules(options: dict[str, int], wanted: list[ProfilerAction]) -> None:
    action = schedule(**options)
    assert [action(step) for step in range(len(wanted))] == wanted


def test_steps_by_schedule() -> None:
    traces: list[list[str]] = []
    planned = schedule(wait=1, warmup=1, active=2, repeat=2)
    one = torch.ones(2)
    with profile(
        activities=CPU, schedule=planned, on_trace_ready=lambda prof: traces.append(names(prof))
    ) as prof:
        for number in range(10):
            (torch.exp, torch.log, torch.sin)[number % 3](one)
            prof.step()
    assert traces == [
        ["ProfilerStep#2", "sin", "ProfilerStep#3", "exp"],
        ["ProfilerStep#6", "exp", "ProfilerStep#7", "log"],
    ]


def test_traces(tmp_path: Path) -> None:
    ready = torch.profiler.tensorboard_trace_handler(str(tmp_path / "logs"), "me", use_gzip=True)
    with profile(activities=CPU, on_trace_ready=ready, record_shapes=True) as prof:
        torch.exp(torch.ones(2))
    (written,) = (tmp_path / "logs").iterdir()
    assert written.name.startswith("me.") and written.name.endswith(".pt.trace.json.gz")
    whole = json.loads(gzip.decompress(written.read_bytes()))
    prof.export_chrome_trace(tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_text()) == whole
    ones, exp = whole["traceEvents"]
    assert (ones["name"], exp["name"], exp["ph"], exp["cat"]) == ("ones", "exp", "X", "cpu_op")
    assert exp["args"] == {"Input Dims": [[2]]} and exp["ts"] >= ones["ts"] + ones["dur"]


def test_the_table() -> None:
    with profile(activities=CPU) as prof:
        for _ in range(3):
            torch.exp(torch.ones(2))
    lines = prof.key_averages().table(sort_by="count", header="Mine").splitlines()
    assert lines[0] == "Mine" and lines[2].split()[:3] == ["Name", "Self", "CPU"]
    assert {line.split()[0]: line.split()[-1] for line in lines[4:6]} == {"ones": "3", "exp": "3"}
    assert lines[-1].startswith("Self CPU time total: ")
    assert len(prof.events().table(row_limit=2).splitlines()) == 3 + 2 + 2
    with pytest.raises(ValueError, match="cannot sort by 'colour'"):
        prof.key_averages().table(sort_by="colour")


def test_what_cannot_be_is_refused() -> None:
    with profile(activities=CPU) as prof:
        with pytest.raises(RuntimeError, match="under way already"):
            profile(activities=CPU).start()
        with pytest.raises(RuntimeError, match="still under way"):
            prof.key_averages()
    with pytest.raises(RuntimeError, match="XPU cannot be measured"):
        profile(activities=[ProfilerActivity.XPU])
    with pytest.raises(ValueError, match="active=0"):
        schedule(wait=0, warmup=0, active=0)
    with pytest.warns(UserWarning, match="with_flops is not kept"):
        profile(activities=CPU, with_flops=True)


def test_names_without_a_profile() -> None:
    @record_function("mine")
    def double(x: int) -> int:
        return 2 * x

    assert double(2) == 4 and double.__name__ == "double"
    with profile(activities=CPU) as prof:
        assert double(3) == 6
    assert names(prof) == ["mine"]


def test_a_gpu_is_timed_by_events() -> None:
    with simulated_gpu():
        x = torch.ones(2, device="cuda")
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as prof:
            torch.exp(x)
        (event,) = prof.events()
        assert event.device_marks is None and event.device_time_total >= 0
        assert "Self CUDA time total" in prof.key_averages().table("cuda_time_total")
