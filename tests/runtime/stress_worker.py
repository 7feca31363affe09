"""One process of stress: `python -m tests.runtime.stress_worker SECONDS [THREADS] [FORKS]`.

Threads run random programs of random sizes; now and then the process forks, and the child runs some
too. Everything is compiled into an empty cache meanwhile. Prints what happened as JSON.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import random
import sys
import threading
import time
import traceback
import warnings

from tests.runtime.stress_programs import PROGRAMS, answer
from tritorch import runtime

SIZES = [1, 2, 7, 64, 1000, 4097, 60_000, 300_000]
#: a child that has not ended by then hangs, however busy the machine is
CHILD_SECONDS = 200.0
#: programs that run in all, however little time there was
FEWEST = 150


class Stress:
    def __init__(self) -> None:
        self.answers: dict[tuple[str, int, int], bytes] = {}
        self.errors: list[str] = []
        self.runs = 0
        self.lock = threading.Lock()

    def one(self, generator: random.Random) -> None:
        program, size = generator.choice(PROGRAMS), generator.choice(SIZES)
        key = (program.name, generator.randrange(3), size)
        found = answer(program, key[1], size)
        with self.lock:
            self.runs += 1
            if self.answers.setdefault(key, found) != found:
                raise AssertionError(f"{key}: two runs differ")

    def work(self, number: int, end: float) -> None:
        generator = random.Random(number)
        while (time.monotonic() < end or self.runs < FEWEST) and not self.errors:
            try:
                self.one(generator)
            except BaseException:
                self.errors.append(traceback.format_exc())

    def fork(self, number: int) -> None:
        """A child that runs a few programs with a pool of its own."""
        with warnings.catch_warnings():  # Python 3.12 warns of any fork beside threads
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 1
            faulthandler.dump_traceback_later(CHILD_SECONDS / 2)  # says where it hangs
            try:
                self.lock = threading.Lock()  # a thread of the parent may have held it
                generator = random.Random(1000 + number)
                for _ in range(20):
                    self.one(generator)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        limit = time.monotonic() + CHILD_SECONDS
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() > limit:
                os.kill(child, 9)
                os.waitpid(child, 0)
                self.errors.append(f"child {number} hangs")
                return
            time.sleep(0.005)
        if status != 0:
            self.errors.append(f"child {number}: status {status}")


def resident() -> int:
    """Bytes of memory that the process has in RAM."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def in_use() -> int:
    gc.collect()
    return int(runtime.get_target("cpu").memory_statistics().allocated)


def main() -> None:
    seconds = float(sys.argv[1])
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 16
    forks = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    for program in PROGRAMS[:3]:  # imports, and the pool
        answer(program, 0, 1000)
    target = runtime.get_target("cpu")
    before = in_use()
    stress = Stress()
    start = time.monotonic()
    workers = [
        threading.Thread(target=stress.work, args=(number, start + seconds))
        for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    halfway = 0
    for number in range(forks):
        time.sleep(seconds / (forks + 1))
        stress.fork(number)
        halfway = halfway or resident()
    for worker in workers:
        worker.join()
    after = in_use()
    target.empty_cache()
    grown = []
    for _ in range(2):  # what one more round of everything leaves behind
        generator = random.Random(5)
        for _ in range(150):
            stress.one(generator)
        in_use()
        target.empty_cache()
        grown.append(resident())
    report = {
        "runs": stress.runs,
        "different": len(stress.answers),
        "errors": stress.errors[:3],
        "in_use": [before, after],
        "resident": grown,
        "seconds": time.monotonic() - start,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
