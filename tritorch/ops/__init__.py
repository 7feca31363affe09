"""The declared operations. Importing `tritorch` imports them all; `tritorch.ops.declare.OPS`
lists them.
"""
