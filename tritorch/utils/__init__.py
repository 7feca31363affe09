"""Helpers that programs are built from: `utils.data`."""
