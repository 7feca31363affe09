"""What `bench.gpu` found: where it ran, the file that keeps it, and the short table at the end."""

from __future__ import annotations

import datetime
import hashlib
import importlib.util
import json
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.gpu_measure import LATE, line

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("compile", "rows", "tests", "sanitizer", "tune")
#: packages that nothing works without, and what is missing without the others
NEEDED = ("triton", "numpy", "llvmlite", "cuda.bindings")
OF_USE = {
    "torch": "rows have no peer", "pytest": "no tests, no sanitizer, nothing compiled ahead",
    "hypothesis": "no tests, no sanitizer", "typer": "no part tune", "rich": "no part tune",
    "ml_dtypes": "no bfloat16 from and to NumPy", "opt_einsum": "no einsum of three operands",
    "cupy": "not exchanged with", "jax": "not exchanged with",
}  # fmt: skip
#: of the text at the end: who reads it may see the last twelve thousand only
CHARACTERS = 9000


def there(package: str) -> bool:
    """Whether it is installed."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def absent(dry: bool) -> dict[str, str]:
    """Packages that are not there, and what is missing without them.

    Raises:
        SystemExit: nothing works without one of them.
    """
    needed = [name for name in NEEDED if not there(name) and not (dry and "cuda" in name)]
    if needed:
        raise SystemExit(f"bench.gpu: {', '.join(needed)} must be installed.")
    return {name: what for name, what in OF_USE.items() if not there(name)}


def _command(*arguments: str) -> str:
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, cwd=ROOT)
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({error})"
    return done.stdout.strip()


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def sources() -> str:
    """A digest of the library and of the rows: figures of other ones are not of this program."""
    digest = hashlib.sha256()
    rows = [ROOT / "bench" / name for name in ("gpu_rows.py", "gpu_model.py", "gpu_measure.py")]
    folders = ("tritorch", "kernels", "autograd", "nn")
    for path in (*rows, *(p for f in folders for p in sorted((ROOT / f).rglob("*.py")))):
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def environment(torch: Any, commit: str = "") -> dict[str, Any]:
    """Device, driver, versions and commit.

    Args:
        commit: where the files are a copy without their history.
    """
    facts = torch.cuda.get_device_properties()
    query = ("nvidia-smi", "--query-gpu=driver_version,clocks.sm", "--format=csv,noheader")
    names = (
        "triton", "numpy", "llvmlite", "cuda-bindings", "torch", "cupy-cuda13x", "jax",
    )  # fmt: skip
    return {
        "gpu": facts.name,
        "capability": f"{facts.major}.{facts.minor}",
        "multiprocessors": facts.multi_processor_count,
        "memory": facts.total_memory,
        "driver": _command(*query),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in names},
        "commit": commit or _command("git", "rev-parse", "HEAD"),
        "changed": bool(_command("git", "status", "--porcelain")),
        "sources": sources(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


# ---- the file


def path_of(facts: Mapping[str, Any], folder: Path) -> Path:
    """The file for a day, a GPU and these sources: no call overwrites figures of others."""
    return folder / f"{facts['date'][:10]}-{_of(facts)}.json"


def _of(facts: Mapping[str, Any]) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", facts["gpu"].lower()).strip("-")
    return f"{name}-{facts['sources'][:8]}"


def earlier(facts: Mapping[str, Any], folders: Iterable[Path]) -> dict[str, Any]:
    """What earlier calls found with the same sources on the same GPU, the latest of all folders."""
    found: list[dict[str, Any]] = []
    for folder in folders:
        for path in folder.glob(f"*-{_of(facts)}.json"):
            with suppress(OSError, ValueError):
                found.append(json.loads(path.read_text()))
    return max(found, key=lambda one: str(one["environment"]["date"]), default={})


def merged(before: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """A report with the rows and the tests of an earlier one, where it has none of its own."""
    whole = {**before, **report}
    rows = [*_rows(before), *_rows(report)]
    if rows:
        kept: dict[str, Any] = {}
        for row in rows:
            if row.get("ours_error") != LATE or row["name"] not in kept:
                kept[row["name"]] = row
        whole["rows"] = list(kept.values())
    return whole


def _rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = report.get("rows")
    return rows if isinstance(rows, list) else []


def keep(report: Mapping[str, Any], before: Mapping[str, Any], folder: Path) -> Path:
    """Write what there is so far; whoever is killed meanwhile leaves the file of before."""
    path = path_of(report["environment"], folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(merged(before, report), indent=1) + "\n")
    part.replace(path)
    return path


# ---- the table


def words(found: Any) -> list[str]:
    """For a part that is no list of rows."""
    if "result" in found:
        return [str(found["result"])]
    return [
        f"{name}: {' '.join([one['result'], *one.get('summary', ())])}"
        for name, one in found.items()
        if isinstance(one, dict)
    ]


def good(report: Mapping[str, Any]) -> bool:
    """Whether all rows ran and no part failed; bars do not count."""
    for part in PARTS:
        found = report.get(part)
        if isinstance(found, list):
            if any("ours_error" in row for row in found):
                return False
        elif found is not None and re.search("failed|broke|stopped", " ".join(words(found))):
            return False
    return True


def summary(report: Mapping[str, Any], figures: bool, characters: int = CHARACTERS) -> str:
    """The short table: what fails, what is below its bar, what reaches it, and the parts."""
    end = _about_rows(_rows(report), figures)
    for part in PARTS:
        found = report.get(part)
        if isinstance(found, dict):
            end.append(f"{part}: {'; '.join(words(found))}")
            end += [f"  {name}: {_last_line(what)}" for name, what in _failures(found)][:12]
    last = "\n".join(end)
    table = _table(_rows(report), figures)
    room = max(characters - len(last), 0)
    shown: list[str] = []
    for place, text in enumerate(table):
        room -= len(text) + 1
        if room < 0:
            shown.append(f"... and {len(table) - place} more lines, which the file has")
            break
        shown.append(text)
    return "\n".join([*shown, last])


def _table(rows: Sequence[dict[str, Any]], figures: bool) -> list[str]:
    """Lines for what deserves one; what reached its bar as a list of ratios."""
    known = [row for row in rows if row.get("ours_error") != LATE]
    failed = [line(row, figures) for row in known if "ours_error" in row or "torch_error" in row]
    if not figures:
        return failed
    fine = [row for row in known if "ours_error" not in row and "torch_error" not in row]
    head = f"{'row':34} {'ours ms':>8} {'peer ms':>8} {'ratio':>6} bar"
    below = [line(row) for row in fine if not row.get("reached")]
    reached = [f"{row['name']} {row['ratio']:.2f}" for row in fine if row.get("reached")]
    lists = [
        "reached: " + "; ".join(reached[start : start + 4]) for start in range(0, len(reached), 4)
    ]
    return [*failed, head, *below, *lists]


def _about_rows(rows: Sequence[dict[str, Any]], figures: bool) -> list[str]:
    if not rows:
        return []
    late = [row for row in rows if row.get("ours_error") == LATE]
    failed = sum("ours_error" in row for row in rows) - len(late)
    text = f"rows: {len(rows) - failed - len(late)} of {len(rows)} ran"
    if figures:
        text += f", {sum(bool(row.get('reached')) for row in rows)} reach their bars"
        text += f", {sum('apart' in row for row in rows)} were compared with the peer's results"
    if failed:
        text += f", {failed} failed"
    if late:
        groups = sorted({row.get("group", "") for row in late})
        text += f", {len(late)} not reached (of {', '.join(groups)}): call again"
    return [text]


def _failures(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of a part, or of the parts of a part."""
    inner = [one for one in found.values() if isinstance(one, dict)]
    return [
        (name, str(what))
        for one in (found, *inner)
        for name, what in (one.get("failed") or {}).items()
        if isinstance(one.get("failed"), dict)
    ]


def _last_line(text: str) -> str:
    lines = [one for one in text.splitlines() if one.strip()]
    marked = [one for one in lines if one.startswith("E ")]
    return f"{(marked or lines or [''])[0 if marked else -1]:.150}"
