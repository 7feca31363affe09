"""A library that knows nothing of tritorch computes on its tensors through the standard alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: estimators and metrics; each runs on NumPy's arrays and on tensors
PROGRAM = """
import json
import warnings
warnings.simplefilter("ignore")
import numpy as np
import sklearn
import tritorch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import MinMaxScaler, StandardScaler

random = np.random.default_rng(0)
X = random.standard_normal((60, 5))
y = (X[:, 0] > 0).astype(np.int64)
programs = {
    "MinMaxScaler": lambda X, y: MinMaxScaler().fit_transform(X),
    "StandardScaler": lambda X, y: StandardScaler().fit_transform(X),
    "PCA": lambda X, y: PCA(2, svd_solver="full").fit(X).explained_variance_,
    "LinearDiscriminantAnalysis": lambda X, y: LinearDiscriminantAnalysis().fit(X, y).predict(X),
    "Ridge": lambda X, y: Ridge(solver="svd").fit(X, X[:, 1] * 2 + X[:, 0]).coef_,
    "mean_squared_error": lambda X, y: mean_squared_error(X, X * 2),
    "rbf_kernel": lambda X, y: rbf_kernel(X),
}
found = {}
for name, program in programs.items():
    expected = program(X, y)
    with sklearn.config_context(array_api_dispatch=True):
        got = program(tritorch.tensor(X), tritorch.tensor(y))
    found[name] = [type(got).__name__, bool(np.allclose(np.asarray(got), expected))]
print(json.dumps(found))
"""


def test_estimators() -> None:
    """The same numbers as on NumPy's arrays, and tensors where arrays come back."""
    pytest.importorskip("sklearn", "1.6", reason="needs scikit-learn with array API dispatch")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ
        | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found.pop("mean_squared_error") == ["float", True]
    assert all(entry == ["Tensor", True] for entry in found.values()), found
    assert len(found) == 6
