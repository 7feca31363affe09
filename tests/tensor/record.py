"""Writes `expected.json`, what PyTorch prints for the short programs: python -m tests.tensor.record

Run it where PyTorch is installed, from the root of the repository, after `programs.py` was changed.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tests.tensor.programs import programs
from tests.tensor.running import outcome

PATH = Path(__file__).with_name("expected.json")


def main() -> None:
    torch.set_num_threads(1)
    recorded = {program: outcome(torch, program) for _, program in programs()}
    PATH.write_text(json.dumps({"torch": torch.__version__, "programs": recorded}, indent=0) + "\n")


if __name__ == "__main__":
    main()
