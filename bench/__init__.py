"""Measures: `python -m bench.report` prints and saves ratios against PyTorch and NumPy."""
