"""tritorch: PyTorch's define-by-run experience on Triton kernels alone."""

from pathlib import Path

# In a wheel kernels/, autograd/ and nn/ are inside this folder; in a checkout they are its
# siblings.
if not (Path(__file__).parent / "kernels").is_dir():
    __path__.append(str(Path(__file__).parent.parent))
