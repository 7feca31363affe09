"""Hand-written Triton kernels and the plans that launch them; each module is one family.

`template.py` turns a Python function in the Triton language into a `Template`. Importing these
modules imports neither Triton nor a runtime: a template's text is read when its first plan is
built.
"""
