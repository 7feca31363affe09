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
    parser.add_argument("--coverage", action="store_true", help="only count what is covered")
    options = parser.parse_args()
    if options.coverage:
        print_coverage()
        return
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
        for case in verdict.excused if options.show else []:
            print(f"    excused: {case}")
        for case in verdict.lenient[:1] if options.show > 3 else []:
            print(f"    lenient ({len(verdict.lenient)}): {case}")
    good = [v for v in verdicts if not v.failures]
    print(
        f"names: {len(good)} of {len(verdicts)} agree on every sample; samples:"
        f" {sum(v.passed for v in verdicts)} of {sum(v.tried for v in verdicts)} agree,"
        f" {sum(v.forms for v in verdicts)} of them other forms (method, in place, out=),"
        f" {sum(len(v.nearer) for v in verdicts)} nearer to the exact result than PyTorch,"
        f" {sum(len(v.excused) for v in verdicts)} differ where PyTorch is wrong,"
        f" {sum(len(v.lenient) for v in verdicts)} are refused by PyTorch and not by us"
    )
    if options.save:
        options.save.write_text(json.dumps([vars(v) for v in verdicts], indent=1) + "\n")


def print_coverage() -> None:
    """How many promised names exist, are covered, and have at least six samples."""
    import tritorch
    from tests.oracle.compare import table, variants_of
    from tests.oracle.promised import coverage

    samples = [
        (expression, len(variants_of(name, expression)))
        for name, expressions in table().items()
        for expression in expressions
    ]
    found = coverage(tritorch, samples)
    for entry in found:
        if not entry.exists or entry.expressions < 6:
            print(f"    {entry}")
    print(
        f"promised names: {len(found)}; exist: {sum(c.exists for c in found)};"
        f" covered: {sum(c.samples > 0 for c in found)};"
        f" at least 6 samples: {sum(c.samples >= 6 for c in found)};"
        f" at least 6 different expressions: {sum(c.expressions >= 6 for c in found)}"
    )


if __name__ == "__main__":
    main()
