"""Pooling and batch normalization."""

from __future__ import annotations

from bench.cases.case import Case

ROWS: list[Case] = []
