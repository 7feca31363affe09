"""`tritorch kernels`: what exists, and its text at every stage."""

from __future__ import annotations

import json

import pytest

from tritorch.cli import main


@pytest.mark.parametrize(
    ("stage", "holds"),
    [
        ("triton", "@triton.jit"),
        ("ttir", "tt.func"),
        ("llir", "define"),
        ("asm", ".text"),
        ("ptx", ".target sm_80"),
        ("sass", "EXIT"),
    ],
)
def test_show_a_stage(stage: str, holds: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["kernels", "show", "relu", "--stage", stage, "--gpu", "sm_80", "--json"]
    assert main.run(line) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["kernel"].startswith("relu") and holds in entry["text"]


def test_show_a_template_for_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["kernels", "show", "softmax_rows", "--shape", "n_cols=64", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["kernel"] == "softmax_rows" and entry["constants"]["BLOCK"] == 64


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["kernels", "list", "matmul*", "--json"]) == 0
    found = {entry["kernel"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert {"matmul_tile", "matmul_integer"} <= set(found)
    assert found["matmul_tile"]["sizes"]["m"] == 1024


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["show", "gelo"], "Did you mean gelu"),
        (["show", "gelu", "--stage", "x"], "Choose from triton"),
        (["show", "gelu", "--dtype", "real"], "no dtype 'real'"),
        (["show", "gelu", "--shape", "a,b"], "cannot read the shape"),
        (["show", "gelu", "--stage", "ptx", "--gpu", "big"], "no architecture 'big'"),
    ],
)
def test_errors(line: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["kernels", *line]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
