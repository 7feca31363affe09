"""Real programs, as users write them: each learns from real data, `import tritorch as torch` its
only framework. `python -m tests.programs.NAME` runs one and prints its curve.
"""
