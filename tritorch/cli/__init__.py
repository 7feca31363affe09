"""The command line: a module for each group of commands, `main` to join them, `output` to print.

A command gathers plain data (lists and dictionaries), and prints it as a table or, with `--json`,
as it is. What it imports it imports when it runs: `tritorch --help` loads no kernels.
"""
