"""Every setting in one place: `TRITORCH_NAME` in the environment, read once, strictly parsed.

`with config(num_threads=1): ...` overrides settings for the current process until the block ends.
Fields marked `codegen` change the code that is generated, so they are part of the kernel cache's
key.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tritorch.errors import ConfigError


def _choice(*accepted: str) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        if text not in accepted:
            raise ConfigError(f"{name} must be one of {', '.join(accepted)}; got {text!r}.")
        return text

    return parse


def _integer(low: int) -> Callable[[str, str], int]:
    def parse(name: str, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise ConfigError(f"{name} must be a whole number >= {low}; got {text!r}.")
        return value

    return parse


def _flag(name: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise ConfigError(f"{name} must be 0 or 1; got {text!r}.")
    return text == "1"


def _text(value: Any) -> str:
    """A setting as the environment has it."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _path(name: str, text: str) -> Path:
    if not text:
        raise ConfigError(f"{name} must be a directory; got an empty string.")
    return Path(text).expanduser()


def _default_cache_dir() -> Path:
    """Where this system keeps caches (as platformdirs says, whose import takes 9 ms)."""
    if sys.platform == "darwin":
        root = "~/Library/Caches"
    else:
        root = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
    return Path(root, "tritorch").expanduser()


def _default_tune_db() -> Path:
    """Where this system keeps what cannot be made again at will."""
    if sys.platform == "darwin":
        root = "~/Library/Application Support"
    else:
        root = os.environ.get("XDG_DATA_HOME", "").strip() or "~/.local/share"
    return Path(root, "tritorch", "tune.sqlite").expanduser()


def _container_cores(root: Path = Path("/sys/fs/cgroup")) -> float:
    """How many cores' worth of time the container grants (Linux control groups); inf: no limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return float("inf")
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return float("inf")
    return cores if cores > 0 else float("inf")


def _default_threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(min(cores or 1, _container_cores())))


def _setting(
    parse: Callable[[str, str], Any],
    default: Callable[[], Any],
    text: str,
    *,
    codegen: bool = False,
) -> Any:
    return field(
        default_factory=default, metadata={"parse": parse, "help": text, "codegen": codegen}
    )


_WATCHERS: dict[str, list[Callable[[], None]]] = {}


def watch(name: str, callback: Callable[[], None]) -> None:
    """Call `callback` after each change of the setting `name`, for rooms that act on it at once."""
    _WATCHERS.setdefault(name, []).append(callback)


@dataclass
class Config:
    """The settings; an attribute each."""

    cache_dir: Path = _setting(_path, _default_cache_dir, "directory of compiled kernels")
    cache: str = _setting(
        _choice("on", "off"),
        lambda: "on",
        "off: compile in memory, neither read nor write the cache",
    )
    cpu_features: str = _setting(
        _choice("native", "avx512", "avx2", "x86-64"),
        lambda: "native",
        "instruction sets the CPU target may use; lower ones are for tests",
        codegen=True,
    )
    num_threads: int = _setting(
        _integer(1), _default_threads, "threads that run one CPU kernel, the calling one included"
    )
    debug: str = _setting(
        _choice("off", "bounds"),
        lambda: "off",
        "bounds: kernels compiled from then on check every access to memory; set it at the start",
    )
    tune: str = _setting(
        _choice("off", "lookup", "on-first-call"),
        lambda: "lookup",
        "whether kernels use configurations found by tuning; on-first-call: look for one first",
    )
    float32_matmul: str = _setting(
        _choice("highest", "high", "medium"),
        lambda: "highest",
        "high, medium: GPUs multiply float32 with the ten bits of tf32",
    )
    tune_lock: Path | None = _setting(
        _path, lambda: None, "file of pinned configurations, from `tritorch tune db export`"
    )
    tune_db: Path = _setting(_path, _default_tune_db, "database of measured configurations")
    tune_budget: int = _setting(
        _integer(1), lambda: 5, "seconds that on-first-call may spend on a kernel"
    )
    launch_blocking: bool = _setting(
        _flag,
        lambda: False,
        "1: wait for every kernel on a GPU, so that an error names the one that failed; set it at "
        "the start",
    )
    cpu_cached_bytes: int = _setting(
        _integer(0), lambda: 4 << 30, "bytes the CPU allocator may keep for reuse"
    )

    def __post_init__(self) -> None:
        for entry in fields(self):
            name = f"TRITORCH_{entry.name.upper()}"
            text = os.environ.get(name)
            if text is not None:
                setattr(self, entry.name, entry.metadata["parse"](name, text))

    @contextmanager
    def __call__(self, **overrides: Any) -> Iterator[Config]:
        """Override settings until the block ends; values are checked like the environment's."""
        known = {entry.name: entry for entry in fields(self)}
        for name in overrides:
            if name not in known:
                raise ConfigError(f"config: no setting {name!r}. Choose from {', '.join(known)}.")
        saved = {name: getattr(self, name) for name in overrides}
        parsed = {
            name: None if value is None else known[name].metadata["parse"](name, _text(value))
            for name, value in overrides.items()
        }
        try:
            for name, value in parsed.items():
                setattr(self, name, value)
            yield self
        finally:
            for name, value in saved.items():
                setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        for callback in _WATCHERS.get(name, ()):
            callback()

    def environment(self) -> dict[str, str]:
        """The settings as environment variables, for processes that are to have the same."""
        return {
            f"TRITORCH_{entry.name.upper()}": _text(value)
            for entry in fields(self)
            if (value := getattr(self, entry.name)) is not None
        }

    def codegen_key(self) -> str:
        """The settings that change generated code, for cache keys."""
        return ";".join(
            f"{entry.name}={getattr(self, entry.name)}"
            for entry in fields(self)
            if entry.metadata["codegen"]
        )


config = Config()
