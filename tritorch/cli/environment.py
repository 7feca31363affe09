"""`tritorch env`: what a bug report needs."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from tritorch.cli import output

_PACKAGES = ("triton", "llvmlite", "numpy", "ml-dtypes", "cuda-bindings", "safetensors", "optuna")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("env")(env)


def env(as_json: output.Json = False) -> None:
    """Versions, devices, CPU features, caches and settings: what a bug report needs.

    Example: tritorch env --json
    """
    found = gather()
    if as_json:
        output.as_json(found)
        return
    for title, part in found.items():
        if title == "versions":
            part = {name: value or "not installed" for name, value in part.items()}
        output.pairs(part, title=title)


def gather() -> dict[str, dict[str, Any]]:
    """All of it as plain data."""
    return {
        "versions": _versions(),
        "machine": _machine(),
        "devices": _devices(),
        "caches": _caches(),
        "settings": _settings(),
    }


def _versions() -> dict[str, Any]:
    import tritorch

    found: dict[str, Any] = {"tritorch": tritorch.__version__, "python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _machine() -> dict[str, Any]:
    from tritorch.triton_cpu.target import host

    target = host()
    return {
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "vector bytes": target.vector_bytes,
        "features": " ".join(sorted(target.flags)),
    }


def cpu_name() -> str:
    """The processor as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _devices() -> dict[str, Any]:
    import tritorch

    cuda = tritorch.cuda
    found: dict[str, Any] = {"cpu": f"{tritorch.get_num_threads()} threads"}
    if cuda.is_available():
        for index in range(cuda.device_count()):
            found[f"cuda:{index}"] = cuda.get_device_name(index)
    else:
        found["cuda"] = "absent"
    return found


def _caches() -> dict[str, Any]:
    from tritorch.config import config

    files, nbytes = 0, 0
    for folder, _, names in os.walk(config.cache_dir):
        for name in names:
            files += 1
            nbytes += os.lstat(os.path.join(folder, name)).st_size
    return {"directory": config.cache_dir, "files": files, "bytes": nbytes}


def _settings() -> dict[str, Any]:
    """TRITORCH_NAME -> value, marked where it is not the default."""
    from dataclasses import fields

    from tritorch.config import config

    return {f"TRITORCH_{f.name.upper()}": getattr(config, f.name) for f in fields(config)}
