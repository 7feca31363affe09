"""`python -m bench.loader [--peer-python PYTHON]`: batches a second of DataLoader, and PyTorch's.

Each case runs in processes of its own, ours and the peer's in turn; medians of the passes over the
data, in which nothing is done with a batch but to read one element. Ratio: ours / PyTorch's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

import numpy as np

#: passes over the data that are measured, behind one that is not
PASSES = 3


class Case(NamedTuple):
    """Items of a shape, so many in a pass, in batches, made by workers."""

    shape: tuple[int, ...]
    items: int
    batch_size: int
    workers: int
    kind: str


CASES = {
    "images 3x224x224, NumPy": Case((3, 224, 224), 512, 32, 2, "numpy"),
    "images 3x224x224, tensors": Case((3, 224, 224), 512, 32, 2, "tensors"),
    "images 3x32x32, NumPy": Case((3, 32, 32), 12_800, 128, 2, "numpy"),
    "images 3x32x32, tensors": Case((3, 32, 32), 12_800, 128, 2, "tensors"),
    "TensorDataset 3x32x32": Case((3, 32, 32), 12_800, 128, 2, "dataset"),
    "rows of 64, dictionaries": Case((64,), 12_800, 64, 2, "dictionaries"),
    "images 3x32x32, no workers": Case((3, 32, 32), 12_800, 128, 0, "numpy"),
    "TensorDataset, no workers": Case((3, 32, 32), 12_800, 128, 0, "dataset"),
}


class Items:
    """A dataset whose items lie in memory; 64 different ones."""

    def __init__(self, torch: Any, case: Case) -> None:
        data = np.random.default_rng(0).random((64, *case.shape), np.float32)
        self.data: Any = data if case.kind == "numpy" else torch.from_numpy(data)
        self.case = case

    def __len__(self) -> int:
        return self.case.items

    def __getitem__(self, index: int) -> Any:
        item = self.data[index % 64]
        return {"x": item, "y": index} if self.case.kind == "dictionaries" else (item, index)


def batches_per_second(library: str, case: Case) -> float:
    """The median pass of this process."""
    torch = importlib.import_module(library)
    utils = importlib.import_module(f"{library}.utils.data")
    torch.set_num_threads(1)
    dataset: Any = Items(torch, case)
    if case.kind == "dataset":
        repeated = np.resize(dataset.data.numpy(), (case.items, *case.shape))
        dataset = utils.TensorDataset(torch.from_numpy(repeated), torch.arange(case.items))
    loader = utils.DataLoader(
        dataset,
        case.batch_size,
        shuffle=True,
        num_workers=case.workers,
        persistent_workers=case.workers > 0,
    )
    speeds = []
    for _ in range(PASSES + 1):
        count, start = 0, time.perf_counter()
        for batch in loader:
            first = batch["x"] if case.kind == "dictionaries" else batch[0]
            float(first.flatten()[0])
            count += 1
        speeds.append(count / (time.perf_counter() - start))
    return statistics.median(speeds[1:])


def _in_process(python: str, library: str, name: str) -> float:
    run = subprocess.run(
        [python, "-m", "bench.loader", "--run", library, name],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    found: float = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.loader", description=__doc__)
    parser.add_argument("--peer-python", help="a Python that has PyTorch")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--run", nargs=2, metavar=("LIBRARY", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(batches_per_second(options.run[0], CASES[options.run[1]])))
        return
    print(f"{'case':<28}{'batches/s':>11}{'PyTorch':>11}{'ratio':>8}")
    for name in CASES:
        if options.only not in name:
            continue
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(_in_process(sys.executable, "tritorch", name))
            if options.peer_python:
                theirs.append(_in_process(options.peer_python, "torch", name))
        line = f"{name:<28}{statistics.median(ours):>11.1f}"
        if theirs:
            ratio = statistics.median(ours) / statistics.median(theirs)
            line += f"{statistics.median(theirs):>11.1f}{ratio:>8.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
