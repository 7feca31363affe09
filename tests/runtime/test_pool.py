from __future__ import annotations

import ctypes
import importlib
import importlib.util
import math
import random
import threading
import time

import pytest

from tests.runtime.conftest import ROUNDS
from tritorch import runtime
from tritorch.config import config
from tritorch.errors import DeviceError
from tritorch.runtime.cpu import pool_ir
from tritorch.runtime.cpu.launcher import bind
from tritorch.runtime.cpu.native import compile_runtime, runtime_text
from tritorch.runtime.cpu.pool import pool
from tritorch.triton_cpu import llvm

config_module = importlib.import_module("tritorch.config")  # the name may also be the object
LONG = 1e9  # nanoseconds of estimated work: always parallel


def counts_after(make_kernel, programs: int, launches: int = 1, work: float = LONG) -> list[int]:
    """How often each program ran."""
    counts = (ctypes.c_int32 * max(programs, 1))()
    launch = bind(make_kernel("count", "*i32"), (programs,), (None,), work=work)
    for _ in range(launches):
        launch(ctypes.addressof(counts))
    return list(counts)[:programs]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("programs", [1, 2, 3, 17, 1000, 12345])
def test_every_program_runs_once_a_launch(make_kernel, threads, count, programs):
    threads(count)
    assert counts_after(make_kernel, programs, launches=20) == [20] * programs


def test_jobs_go_through_the_pool_when_it_has_workers(make_kernel, threads):
    threads(2)
    before = pool().state.parallel_jobs
    counts_after(make_kernel, 1000, launches=5)
    assert pool().state.parallel_jobs == before + 5
    threads(1)
    counts_after(make_kernel, 1000, launches=5)
    assert pool().state.parallel_jobs == before + 5


def test_other_threads_do_run_programs(make_kernel, threads):
    """Two programs that wait for each other end only where two threads run them."""
    threads(2)
    arrived, met = ctypes.c_int32(), (ctypes.c_int32 * 2)()
    launch = bind(make_kernel("meet", "*i32", "*i32", "i64"), (2,), (None, None, ROUNDS), work=LONG)
    launch(ctypes.addressof(arrived), ctypes.addressof(met))
    assert (arrived.value, list(met)) == (2, [1, 1])


def test_late_workers_never_touch_a_newer_job(make_kernel, threads):
    """Varied jobs back to back, each with arguments of its own, and more threads than cores."""
    threads(4)
    generator = random.Random(0)
    kernel = make_kernel("count", "*i32")
    jobs = []
    for _ in range(40):
        programs = generator.randrange(1, 400)
        jobs.append(((ctypes.c_int32 * programs)(), bind(kernel, (programs,), (None,), work=LONG)))
    for _ in range(100):
        generator.shuffle(jobs)
        for counts, launch in jobs:
            launch(ctypes.addressof(counts))
    assert all(list(counts) == [100] * len(counts) for counts, _ in jobs)


def test_python_threads_may_launch_at_the_same_time(make_kernel, threads):
    threads(3)
    results: dict[int, list[int]] = {}

    def work(number: int) -> None:
        results[number] = counts_after(make_kernel, 100 + number, launches=300)

    launching = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in launching:
        thread.start()
    for thread in launching:
        thread.join()
    assert results == {number: [300] * (100 + number) for number in range(5)}


def test_the_number_of_threads_may_change_while_others_launch(make_kernel, threads):
    threads(2)
    results: list[list[int]] = []
    launching = threading.Thread(
        target=lambda: results.append(counts_after(make_kernel, 500, launches=2000))
    )
    launching.start()
    for count in (1, 3, 2, 4, 1, 2):
        runtime.set_num_threads(count)
        assert counts_after(make_kernel, 300, launches=10) == [10] * 300
        assert runtime.get_num_threads() == count
    launching.join()
    assert results == [[2000] * 500]


def test_the_pool_has_as_many_threads_as_the_setting_says(make_kernel, threads):
    for count in (3, 1, 2):
        threads(count)
        counts_after(make_kernel, 100)
        assert pool().state.threads == count
        workers = [t for t in threading.enumerate() if t.name.startswith("tritorch-worker")]
        assert len(workers) == count - 1
    with config(num_threads=4):
        counts_after(make_kernel, 100)
        assert pool().state.threads == 4
    counts_after(make_kernel, 100)
    assert pool().state.threads == 2


@pytest.mark.parametrize("count", [0, -1, 2.0, True, "2"])
def test_set_num_threads_rejects(count):
    with pytest.raises(ValueError, match="set_num_threads: expected a positive int"):
        runtime.set_num_threads(count)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, math.inf),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu.max": "250000 100000\n"}, 2.5),
        ({"cpu.max": "nonsense\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
    ],
)
def test_the_quota_of_a_container_limits_the_default(tmp_path, monkeypatch, files, cores):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert config_module._container_cores(tmp_path) == cores
    monkeypatch.setattr(config_module, "_container_cores", lambda: cores)
    monkeypatch.setattr(config_module.os, "sched_getaffinity", lambda _: set(range(8)))
    assert config_module._default_threads() == {math.inf: 8, 2.5: 2, 0.5: 1}[cores]


def run_time(thread: threading.Thread) -> int:
    """Nanoseconds that a thread has had a processor."""
    assert thread.ident is not None
    return time.clock_gettime_ns(time.pthread_getcpuclockid(thread.ident))


def test_idle_workers_sleep(make_kernel, threads):
    """They get there, whenever that is, and then use no processor at all."""
    threads(3)
    counts_after(make_kernel, 1000, launches=3)
    workers = [t for t in threading.enumerate() if t.name.startswith("tritorch-worker")]
    assert len(workers) == 2
    limit = time.monotonic() + 120
    before, now = [-1], [0]
    while before != now or pool().state.sleepers != 2:
        assert time.monotonic() < limit, (before, now, pool().state.sleepers)
        before = [run_time(worker) for worker in workers]
        time.sleep(0.1)
        now = [run_time(worker) for worker in workers]


def test_where_threads_cannot_start_jobs_run_on_fewer(make_kernel, threads, monkeypatch):
    threads(4)
    pool().stop()
    real, started = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert counts_after(make_kernel, 1000) == [1] * 1000
    assert pool().state.threads == 2
    monkeypatch.undo()
    pool().stop()


def test_a_busy_pool_makes_launches_run_alone(make_kernel, threads):
    threads(2)
    counts_after(make_kernel, 100)
    the_pool = pool()
    jobs = the_pool.state.parallel_jobs
    assert the_pool._try_lock()
    try:
        assert counts_after(make_kernel, 1000, launches=3) == [3] * 1000
        assert the_pool.state.parallel_jobs == jobs
    finally:
        the_pool._unlock()
    assert counts_after(make_kernel, 1000) == [1] * 1000
    assert the_pool.state.parallel_jobs == jobs + 1


FORKS = """
assert counted(1000) == [1] * 1000
for _ in range(3):
    child = os.fork()
    if child == 0:
        try:
            assert pool().state.started == 0
            assert counted(1000, 50) == [50] * 1000
            assert pool().state.threads == 3
            assert len(threading.enumerate()) == 3, threading.enumerate()
            os._exit(7)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    assert counted(1000, 50) == [50] * 1000
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print("done")
"""


def test_fork(run_script):
    result = run_script(FORKS)
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


def test_multiprocessing_fork(run_script):
    result = run_script(
        """
import multiprocessing
assert counted(1000) == [1] * 1000
with multiprocessing.get_context("fork").Pool(2) as processes:
    assert processes.map(counted, [100, 2000, 300]) == [[1] * n for n in (100, 2000, 300)]
print("done")
"""
    )
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


def test_fork_while_another_thread_launches(run_script):
    result = run_script(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of the launching thread itself
stop = []
def launch():
    while not stop:
        assert counted(5000, 20) == [20] * 5000
thread = threading.Thread(target=launch)
thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(7 if counted(1000, 20) == [20] * 1000 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
stop.append(1)
thread.join()
print("done")
"""
    )
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


def test_exit_is_clean_and_launches_still_work_during_it(run_script):
    result = run_script(
        """
import atexit
# Runs after the pool has closed, since it is registered before the pool is made.
atexit.register(lambda: print(counted(1000) == [1] * 1000, pool().state.threads, flush=True))
assert counted(1000, 10) == [10] * 1000
atexit.register(lambda: print(pool().state.threads, flush=True))
class Last:
    def __del__(self):
        print(self.counted(10) == [1] * 10, flush=True)
Last.counted = staticmethod(counted)
keep = Last()
"""
    )
    assert (result.stdout, result.stderr, result.returncode) == ("3\nTrue 1\nTrue\n", "", 0)


def test_exit_while_a_daemon_thread_launches(run_script):
    result = run_script(
        """
threading.Thread(target=lambda: counted(5000, 10**9), daemon=True).start()
while not pool().state.parallel_jobs: time.sleep(0.001)
print("done")
"""
    )
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


def test_jobs_run_on_a_foreign_openmp_runtime(run_script):
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("scikit-learn brings the libgomp to test with")
    result = run_script(
        """
import sklearn.utils._openmp_helpers
with open("/proc/self/maps") as maps:
    path = next(line.split()[-1] for line in maps if "libgomp" in line)
counted(1)
pool().stop()
pool().state.openmp = ctypes.cast(ctypes.CDLL(path).GOMP_parallel, ctypes.c_void_p).value
pool().state.threads, pool().state.started = 3, 1
assert counted(1000, 200) == [200] * 1000
assert pool().state.parallel_jobs == 200
assert not pool()._workers
print("done")
"""
    )
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"])
def test_the_machine_code_compiles_for(triple):
    binding = llvm.binding()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(triple)
    machine = target.create_target_machine(reloc="pic", codemodel="small")
    architecture = triple.partition("-")[0]
    module = binding.parse_assembly(runtime_text(architecture))
    module.verify()
    module.triple = triple
    module.data_layout = str(machine.target_data)
    assembly = machine.emit_assembly(module)
    instructions = {line.split()[0] for line in assembly.splitlines() if line.startswith("\t")}
    assert {"isb", "pause"} & instructions == {"isb" if architecture == "aarch64" else "pause"}


def test_an_unknown_architecture_is_one_clear_error():
    with pytest.raises(DeviceError, match="cpu: no thread pool for riscv64"):
        pool_ir.pool_text("riscv64")


def test_the_state_has_the_layout_that_the_machine_code_uses():
    state = pool_ir.PoolState
    assert [getattr(state, name).offset for name in ("function", "claim", "left")] == [64, 128, 192]
    assert ctypes.sizeof(state) == 256
    assert ctypes.addressof(pool().state) % 64 == 0


def test_the_object_comes_from_the_kernel_cache(tmp_path, monkeypatch):
    from tritorch.triton_cpu.target import host

    with config(cache_dir=tmp_path, cache="on"):
        first = compile_runtime(host())
        monkeypatch.setattr(llvm, "compile_object", None)
        assert compile_runtime(host()) == first
