"""One search: a kernel and sizes in, the best verified configuration out, every result kept.

Candidates come in batches from a strategy. Each is verified in a worker process (several at a time)
with a deadline, then the batch is timed in one worker, in turn with the default configuration: a
candidate's ratio is the median over rounds of its time over the default's in the same round, so
that a noisy machine disturbs both. Hopeless ones are given up after two rounds.

Time is kept for the end, also of an interrupted search: what leads is timed again in turn with the
default (`duel`), and scrutinised: ten more runs, and one with checked accesses. Only what is faster
beyond noise then is kept as "ok", and so used; where nothing is, the default stays. How busy the
machine was with other things meanwhile is told (`load`).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from tritorch.config import config
from tritorch.errors import TuneError
from tritorch.kernels import choices, tuning
from tritorch.tune.database import Database, Row, now
from tritorch.tune.duel import FEWEST, ROUNDS, Duel
from tritorch.tune.load import MUCH, Load
from tritorch.tune.strategies import strategy
from tritorch.tune.worker import Died, Late, Worker

_BATCH = 4
_ROUNDS = 5
#: how many are compared with the default at once, at the end
_FINALISTS = 3
#: this much slower than the best after two rounds: hopeless
_HOPELESS = 1.3
#: share of the budget that is kept for the finals, at least and at most
_RESERVE, _RESERVE_MOST = 0.15, 0.5
#: seconds that the finals of an interrupted search may take
_HASTE = 5.0

Progress = Callable[["Session"], None]


@dataclass(repr=False)
class Outcome:
    """What a search came to.

    Attributes:
        best: the fastest verified row; the default's own (ratio 1) where nothing is faster.
        default_seconds: of a call with the default, median.
        tried, resumed: candidates measured now, and known from before.
        rejected: rows that are wrong, failed or ran out of time.
        stopped: why it ended: "done" (nothing left), "budget", "trials", "interrupted".
        seconds: wall time.
        interval: the best one's speed over the default's, from and to; None for the default.
        verdict: what the last comparison with the default said.
        load: how much of the processors others used, 0 to 1; None where that is not known.
    """

    kernel: str
    sizes: dict[str, Any]
    dtype: str | None
    facts: dict[str, Any]
    target: str
    best: Row
    default_seconds: float
    tried: int
    resumed: int
    space: int
    rejected: list[Row]
    stopped: str
    seconds: float
    interval: tuple[float, float] | None
    verdict: str
    load: float | None

    @property
    def disturbed(self) -> str | None:
        """A warning, where others used much of the processors."""
        if self.load is None or self.load < MUCH:
            return None
        return (
            f"{self.kernel}: other programs used {self.load:.0%} of the processors meanwhile, so "
            "what was found is doubtful. Run it again with --again on a quiet machine."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **{k: v for k, v in self.__dict__.items() if k not in ("best", "rejected")},
            "best": self.best.as_json(),
            "rejected": [row.as_json() for row in self.rejected],
        }

    def __repr__(self) -> str:
        best = " ".join(f"{name}={value}" for name, value in self.best.config.items())
        faster = 1 / (self.best.ratio or 1.0)
        return (
            f"<Outcome {self.kernel}: {best}, {faster:.2f} times the default's speed; tried "
            f"{self.tried + self.resumed} of {self.space - 1}, rejected {len(self.rejected)}>"
        )

    def _repr_html_(self) -> str:
        from tritorch.tune.report import outcome_html

        return outcome_html(self)


@dataclass
class Options:
    """How to search; see `tritorch tune run --help`."""

    strategy: str = "hill"
    budget: float = 60.0
    trials: int | None = None
    workers: int | None = None
    seed: int = 0
    deadline: float = 10.0
    again: bool = False
    device: str = "cpu"


@dataclass
class Session:
    """A search under way; `progress` sees it after every step."""

    kernel: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    options: Options = field(default_factory=Options)
    database: Database = field(default_factory=Database)
    progress: Progress = lambda session: None

    def run(self) -> Outcome:
        """Search.

        Raises:
            TuneError: no such kernel or sizes, or the default itself does not run.
        """
        if self.kernel.startswith("__main__:"):
            raise TuneError(
                f"tune: {self.kernel} is defined in a program or a notebook's cell, which the "
                "processes that measure cannot import. Put it into a module; in a notebook begin "
                "its cell with %%writefile my_kernels.py, and import that."
            )
        self.begun = time.monotonic()
        self.end = self.begun + self.options.budget
        self.rows: dict[int, Row] = {}
        self.tried = self.resumed = 0
        self.default_times: list[float] = []
        self.stopped = "done"
        self.stage = "search"
        self._sampled: list[float] = []  # wall seconds of the last samples
        self._duels: dict[int, Duel] = {}
        self._load = Load()
        self._workers = [
            Worker(self.kernel, self.sizes, self.dtype, device)
            for device in _places(self.options.device, self.options.workers)
        ]
        try:
            try:
                self._open()
                try:
                    self._search()
                except KeyboardInterrupt:
                    self.stopped = "interrupted"
                    self.end = min(self.end, time.monotonic() + _HASTE)
                self._finals()
            except KeyboardInterrupt:
                if not self.default_times:
                    raise
                self.stopped = "interrupted"
            except (Late, Died) as error:  # of the default: candidates' are kept as results
                if not self.default_times:
                    raise TuneError(
                        f"tune: {self.kernel} with its default did not run within the budget of "
                        f"{self.options.budget:.0f} s. Give smaller sizes or more time."
                    ) from error
                self.stopped = "budget"
            return self._outcome()
        finally:
            for worker in self._workers:
                worker.end()

    # ---- state that a live table shows

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.end - time.monotonic()

    @property
    def default_seconds(self) -> float:
        """Median of a call with the default."""
        return statistics.median(self.default_times)

    @property
    def best(self) -> Row | None:
        """The fastest verified row so far, whether or not it is proven to be."""
        good = self._leaders()
        return self.rows[good[0]] if good else None

    @property
    def load(self) -> float | None:
        """How much of the processors others have used."""
        return self._load.share(w.process for w in self._workers if w.process is not None)

    def _leaders(self, *statuses: str) -> list[int]:
        """Verified candidates, fastest first."""
        wanted = statuses or ("ok", "timed")
        good = [i for i, row in self.rows.items() if row.status in wanted]
        return sorted(good, key=lambda i: self.rows[i].ratio or math.inf)

    # ---- steps

    def _open(self) -> None:
        try:
            found = self._workers[0].start(time.monotonic() + max(self.left, 5.0))
        except Died as error:
            raise TuneError(f"tune: {self.kernel} with its default: {error}.") from error
        self.kernel, self.sizes = found["kernel"], found["sizes"]
        self.facts: dict[str, Any] = found["facts"]
        self.target: str = found["target"]
        self.digest: str = found["digest"]
        self.moved, self.operations = found["moved"], found["operations"]
        self.default: dict[str, Any] = found["default"]
        self.candidates: list[dict[str, Any]] = found["candidates"]
        self._sample_default()
        self._plan = strategy(self.options.strategy, self.candidates, self.options.seed)
        if not self.options.again:
            self._resume()
        self.progress(self)

    def _sample_default(self) -> float:
        begun = time.monotonic()
        took = self._timer().time({}, begun + max(self.left, 5.0))
        self.default_times.append(took)
        self._sampled = [*self._sampled[-8:], time.monotonic() - begun]
        return took

    def _timer(self) -> Worker:
        worker = self._workers[0]
        if not worker.alive:
            worker.start(time.monotonic() + max(self.left, 5.0))
        return worker

    def _resume(self) -> None:
        """What was measured before need not be again."""
        places = {_key(c): i for i, c in enumerate(self.candidates)}
        for row in self.database.rows(self.kernel, self.target):
            place = places.get(_key(row.config))
            if row.digest == self.digest and row.facts == self.facts and place is not None:
                self.rows[place] = row
                self.resumed += 1
                timed = row.status in ("ok", "timed", "slow") and row.ratio
                self._plan.tell(place, row.ratio if timed and row.ratio else math.inf)

    def _reserve(self) -> float:
        """Seconds that the finals will need."""
        finals = 1.5 * (1 + _FINALISTS) * ROUNDS * statistics.median(self._sampled)
        budget = self.options.budget
        return min(max(budget * _RESERVE, finals), budget * _RESERVE_MOST)

    def _search(self) -> None:
        limit = self.options.trials
        while True:
            reserve = self._reserve()
            size = max(_BATCH, len(self._workers))
            if limit is not None:
                size = min(size, limit - self.tried)
                if size <= 0:
                    self.stopped = "trials"
                    return
            if self.left < reserve:
                self.stopped = "budget"
                return
            batch = self._plan.ask(size)
            if not batch:
                return
            self._batch(batch, reserve)

    def _batch(self, batch: list[int], reserve: float) -> None:
        """Verify candidates, several at a time, then time the good ones in turn."""
        last = max(self.end - reserve, time.monotonic() + 0.5)
        queue = list(batch)
        findings: dict[int, dict[str, Any]] = {}

        def serve(worker: Worker) -> None:
            while queue:
                place = queue.pop(0)
                findings[place] = self._verify(worker, self.candidates[place], last)

        with ThreadPoolExecutor(len(self._workers)) as pool:
            list(pool.map(serve, self._workers[: len(batch)]))
        good = []
        for place in batch:
            found = findings[place]
            if found["status"] == "ok":
                good.append(place)
            elif found["status"] != "late":
                self._keep(place, found["status"], found["message"])
            self.tried += found["status"] != "late"
        self._time(good)
        self.progress(self)

    def _verify(self, worker: Worker, candidate: dict[str, Any], last: float) -> dict[str, Any]:
        """{"status", "message"}; "late" where the budget, not the deadline, ended it."""
        deadline = min(time.monotonic() + self.options.deadline, last)
        try:
            if not worker.alive:
                worker.start(max(last, time.monotonic() + 5.0))
                deadline = min(time.monotonic() + self.options.deadline, last)
            found: dict[str, Any] = worker.check(candidate, deadline)
            return found
        except Late:
            if deadline == last:
                return {"status": "late", "message": ""}
            return {
                "status": "timeout",
                "message": f"no result within {self.options.deadline:g} s",
            }
        except Died as error:
            return {"status": "failed", "message": str(error)}
        except TuneError as error:
            return {"status": "failed", "message": str(error)}

    def _time(self, places: list[int]) -> None:
        times: dict[int, list[float]] = {place: [] for place in places}
        ratios: dict[int, list[float]] = {place: [] for place in places}
        running = list(places)
        try:
            self._rounds(running, times, ratios)
        finally:  # also where it is interrupted: what has been timed is kept
            for place in running:
                if times[place]:  # else the budget ended first, and nothing is known of it
                    self._keep(place, "timed", "", times[place], ratios[place])

    def _rounds(
        self, running: list[int], times: dict[int, list[float]], ratios: dict[int, list[float]]
    ) -> None:
        """Sample candidates in turn with the default; those that fail or are hopeless leave."""
        best = self.best
        leader = best.ratio if best is not None and best.ratio else 1.0
        for turn in range(_ROUNDS):
            if not running or self.left < 0:
                break
            usual = self._sample_default()
            for place in list(running):
                took = self._sample(place)
                if took is None:
                    running.remove(place)
                    del times[place]
                    continue
                times[place].append(took)
                ratios[place].append(took / usual)
                hopeless = min(ratios[place]) > _HOPELESS * min(leader, 1.0)
                if turn == 1 and hopeless:
                    self._keep(place, "slow", "", times[place], ratios[place])
                    running.remove(place)

    def _sample(self, place: int) -> float | None:
        """A sample of a candidate; None where it hangs or dies after all, which is kept."""
        deadline = time.monotonic() + self.options.deadline
        try:
            return self._timer().time(self.candidates[place], deadline)
        except Late:
            self._keep(place, "timeout", f"no result within {self.options.deadline:g} s")
        except (Died, TuneError) as error:
            self._keep(place, "failed", str(error))
        return None

    def _keep(
        self,
        place: int,
        status: str,
        message: str,
        times: list[float] | None = None,
        ratios: list[float] | None = None,
    ) -> None:
        """Remember a result, here, in the strategy and in the database."""
        row = self._row(self.candidates[place], status, message, times, ratios)
        self.rows[place] = row
        timed = status in ("ok", "timed", "slow") and row.ratio
        self._plan.tell(place, row.ratio if timed and row.ratio else math.inf)
        self.database.add([row])

    def _row(
        self,
        configuration: dict[str, Any],
        status: str,
        message: str = "",
        times: list[float] | None = None,
        ratios: list[float] | None = None,
    ) -> Row:
        seconds = statistics.median(times) if times else None
        spread = None
        if times and seconds is not None:
            spread = statistics.median(abs(t - seconds) for t in times)
        return Row(
            kernel=self.kernel, digest=self.digest, target=self.target, facts=self.facts,
            config=configuration, status=status, message=message, seconds=seconds, spread=spread,
            ratio=statistics.median(ratios) if ratios else None, samples=len(times or ()),
            sizes=dict(self.sizes), moved=self.moved, operations=self.operations,
            versions=versions(), measured=now(),
        )  # fmt: skip

    def _finals(self) -> None:
        """Compare the leaders with the default until one is proven to be faster, or none leads."""
        self.stage = "last comparison"
        self.progress(self)
        while self.left > 0:
            due = [
                place
                for place in self._leaders()
                if place not in self._duels and (self.rows[place].ratio or math.inf) < 1.0
            ][: self._affordable()]
            if not due:
                return
            self._compare(due)
            self.progress(self)
            if self._scrutinise() and self._leaders("ok")[0] in self._duels:
                return

    def _affordable(self) -> int:
        """How many leaders can be compared in the time that is left; one in any case."""
        rounds = self.left / max(statistics.median(self._sampled), 1e-6) / ROUNDS
        return max(1, min(_FINALISTS, int(rounds) - 1))

    def _compare(self, places: list[int]) -> None:
        """Time leaders in turn with the default, in front of it and behind it by turns."""
        duels = {place: Duel() for place in places}
        try:
            for turn in range(ROUNDS):
                if self.left < 0:
                    break
                order: list[int | None] = [None, *duels]
                found: dict[int | None, float] = {}
                for place in reversed(order) if turn % 2 else order:
                    took = self._sample_default() if place is None else self._sample(place)
                    if took is None and place is not None:
                        del duels[place]
                    elif took is not None:
                        found[place] = took
                for place, duel in duels.items():
                    duel.add(found[None], found[place])
        finally:  # also where it is interrupted: what was shown by then holds
            for place, duel in duels.items():
                if duel.times:
                    self._duels[place] = duel
                    status = "ok" if duel.faster else "timed"
                    self._keep(place, status, "", duel.times, duel.ratios)

    def _scrutinise(self) -> bool:
        """Whether one of those that are proven is left when it has been looked at whether it wins
        by reading or writing where it must not."""
        for place in self._leaders("ok"):
            if place not in self._duels:
                continue
            best = self.rows[place]
            deadline = min(self.options.deadline, max(self.left, 0.5))
            try:
                found = self._timer().check(best.config, time.monotonic() + deadline, thorough=True)
            except Late:  # it takes 10 to 100 times as long as without
                message = "not run with checked accesses: it takes too long"
                self.rows[place] = replace(best, message=message)
                self.database.add([self.rows[place]])
                return True
            except (Died, TuneError) as error:
                found = {"status": "failed", "message": f"under scrutiny: {error}"}
            if found["status"] == "ok":
                return True
            self._keep(place, found["status"], found["message"])
        return False

    def _outcome(self) -> Outcome:
        best = usual = self._row(self.default, "ok", "", self.default_times, [1.0])
        self.database.add([usual])
        proven = [place for place in self._leaders("ok") if place in self._duels]
        interval = None
        if proven:
            best = self.rows[proven[0]]
            low, high = self._duels[proven[0]].interval
            interval = (1 / high, 1 / low)
        choices.reload()
        return Outcome(
            kernel=self.kernel, sizes=dict(self.sizes), dtype=self.dtype, facts=self.facts,
            target=self.target, best=best, default_seconds=self.default_seconds,
            tried=self.tried, resumed=self.resumed, space=len(self.candidates) + 1,
            rejected=[
                r for r in self.rows.values() if r.status in ("wrong", "failed", "timeout")
            ],
            stopped=self.stopped, seconds=self.elapsed, interval=interval,
            verdict=self._verdict(proven), load=self.load,
        )  # fmt: skip

    def _verdict(self, proven: list[int]) -> str:
        """What the last comparison with the default came to, in words."""
        if proven:
            return f"faster than the default: {self._duels[proven[0]]}"
        leaders = [place for place in self._leaders() if place in self._duels]
        if not leaders:
            return "the default stays: nothing tried was faster"
        duel = self._duels[leaders[0]]
        config = " ".join(f"{n}={v}" for n, v in self.rows[leaders[0]].config.items())
        few = "" if len(duel.times) >= FEWEST else ", too few to tell"
        return f"the default stays: {config} was not faster beyond noise, {duel}{few}"


def _places(device: str, workers: int | None) -> list[str]:
    """A device for each worker process. The first one's is that on which candidates are timed; all
    GPUs of its kind help to compile and verify."""
    if device == "cpu":
        return ["cpu"] * (workers or max(1, config.num_threads))
    import tritorch as torch

    first = torch.cuda.current_device() if device == "cuda" else int(device.partition(":")[2])
    name = torch.cuda.get_device_name(first)
    indices = [first]
    if device == "cuda":
        others = range(torch.cuda.device_count())
        indices += [i for i in others if i != first and torch.cuda.get_device_name(i) == name]
    count = workers or max(len(indices), min(4, config.num_threads))
    return [f"cuda:{indices[i % len(indices)]}" for i in range(count)]


def _key(configuration: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(configuration.items()))


def versions() -> dict[str, str]:
    """Of what made the machine code that was measured."""
    import tritorch
    from tritorch.triton_cpu import cache

    found = {name: v for name, v in cache.versions().items() if name != "code"}
    return {"tritorch": tritorch.__version__, **found}


def on_first_call(
    tunable: tuning.Tunable, target: str, facts: tuning.Facts
) -> dict[str, Any] | None:
    """A short search for what a program is about to run, in other processes; its own data is not
    touched. None where these facts cannot be made again.
    """
    from tritorch.tune import problems

    if target != "cpu":
        return None
    database = Database()
    try:
        sizes, dtype = problems.from_facts(tunable.name, facts)
        options = Options(budget=float(config.tune_budget), workers=1)
        session = Session(tunable.name, sizes, dtype, options, database)
        outcome = session.run()
    except TuneError:
        return None
    if choices.bucket(outcome.facts) != choices.bucket(facts):
        return None
    # The row of these very facts, so that it is not looked for again.
    database.add([replace(outcome.best, facts=dict(facts))])
    return dict(outcome.best.config)
