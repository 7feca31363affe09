"""Programs to run with `python -m tritorch.examples.NAME`."""
