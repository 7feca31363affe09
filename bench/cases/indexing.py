"""Gathers, scatters, embeddings, sorts, joins."""

from __future__ import annotations

from bench.cases.case import Case

ROWS: list[Case] = []
