"""`python -m tests.oracle.report [NAME ...]`: what agrees with PyTorch, of all that was tried."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the cross-check and print what fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.report", description=__doc__)
    parser.add_argument("names", nargs="*", help="only names that contain one of these")
    parser.add_argument("--save", type=Path, help="write the verdicts as JSON")
    parser.add_argument("--part", default="1/1", help="k/n: every n-th name, from the k-th")
    parser.add_argument("--show", type=int, default=3, help="failures to print of each name")
    options = parser.parse_args()
    import torch

    import tritorch
    from tests.oracle.compare import judge, table

    torch.set_num_threads(1)
    part, parts = map(int, options.part.split("/"))
    verdicts: list[Any] = []
    for number, (name, expressions) in enumerate(table().items()):
        if number % parts != part - 1:
            continue
        if options.names and not any(word in name for word in options.names):
            continue
        verdict = judge(tritorch, torch, name, expressions)
        verdicts.append(verdict)
        if verdict.failures:
            print(f"{name}: {verdict.passed} of {verdict.tried}", flush=True)
            for failure in verdict.failures[: options.show]:
                print(f"    {failure}")
        for case in verdict.lenient[:1] if options.show > 3 else []:
            print(f"    lenient ({len(verdict.lenient)}): {case}")
    good = [v for v in verdicts if not v.failures]
    print(
        f"names: {len(good)} of {len(verdicts)} agree on every sample; samples:"
        f" {sum(v.passed for v in verdicts)} of {sum(v.tried for v in verdicts)} agree,"
        f" {sum(len(v.lenient) for v in verdicts)} are refused by PyTorch and not by us"
    )
    if options.save:
        options.save.write_text(json.dumps([vars(v) for v in verdicts], indent=1) + "\n")


if __name__ == "__main__":
    main()
