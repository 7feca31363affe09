"""What the machine code may use: CPU features, vector width, tuning name; the host's by default."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from tritorch.config import config
from tritorch.errors import ConfigError
from tritorch.triton_cpu.cache import remembered

#: TRITORCH_CPU_FEATURES -> LLVM's name of that feature level, and the features the host must have
#: for it.
LEVELS = {
    "x86-64": ("x86-64", ()),
    "avx2": ("x86-64-v3", ("avx2", "fma", "f16c", "bmi2")),
    "avx512": ("x86-64-v4", ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd")),
}

_VECTOR_BYTES = {"x86-64": 16, "avx2": 32, "avx512": 64}


@dataclass(frozen=True)
class CPUTarget:
    """A CPU to generate code for.

    `cpu` only tunes (scheduling); what instructions are allowed is said by `features`, LLVM's
    feature string. `vector_bytes` is the hardware vector; `strip_bytes` the width of the virtual
    one that loops walk in.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    strip_bytes: int
    flags: frozenset[str]

    @property
    def architecture(self) -> str:
        return self.triple.partition("-")[0]

    @property
    def is_x86(self) -> bool:
        return self.architecture in ("x86_64", "i686")

    @property
    def is_aarch64(self) -> bool:
        return self.architecture in ("aarch64", "arm64")

    def has(self, feature: str) -> bool:
        """Whether LLVM's feature of this name (`avx2`, `sve2`, ...) may be used."""
        return feature in self.flags

    @property
    def avx512f(self) -> bool:
        return self.has("avx512f")

    @property
    def avx2(self) -> bool:
        return self.has("avx2")

    @property
    def fma(self) -> bool:
        """Whether a fused multiply-add is one instruction."""
        return self.has("fma") or self.is_aarch64

    @property
    def f16c(self) -> bool:
        """Whether float16 converts to float32 in hardware."""
        return self.has("f16c") or self.is_aarch64

    @property
    def avx512bf16(self) -> bool:
        return self.has("avx512bf16")

    @property
    def avx512fp16(self) -> bool:
        return self.has("avx512fp16")

    @property
    def vnni(self) -> bool:
        """Whether four products of bytes are added to an int32 in one instruction."""
        return self.has("avx512vnni") and self.has("avx512vl")

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the target in cache keys."""
        text = f"{self.triple}|{self.cpu}|{self.features}|{self.vector_bytes}|{self.strip_bytes}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def machine(self, codegen_level: int = 2) -> Any:
        """The llvmlite TargetMachine (one per target and level)."""
        return _machine(self, codegen_level)


@cache
def _machine(target: CPUTarget, codegen_level: int) -> Any:
    from tritorch.triton_cpu.llvm import binding

    llvm = binding()
    if target.architecture != llvm.get_process_triple().partition("-")[0]:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=codegen_level,
        reloc="pic",
        codemodel="small",
    )


def host() -> CPUTarget:
    """This machine, restricted by the setting `cpu_features`."""
    return _host(config.cpu_features)


def level(name: str) -> CPUTarget:
    """A feature level (`x86-64`, `avx2`, `avx512`) as a target, even if this machine lacks it."""
    cpu, flags = LEVELS[name]
    vector_bytes = _VECTOR_BYTES[name]
    implied = {"sse2", *flags}
    if name != "x86-64":
        implied.update(("sse4.1", "sse4.2", "avx", *LEVELS["avx2"][1]))
    features = "-prefer-256-bit" if name == "avx512" else ""
    return CPUTarget(
        triple="x86_64-unknown-linux-gnu",
        cpu=cpu,
        features=features,
        vector_bytes=vector_bytes,
        strip_bytes=_strip_bytes(vector_bytes),
        flags=frozenset(implied),
    )


def _strip_bytes(vector_bytes: int) -> int:
    """Four hardware vectors a strip: measured fastest on pointwise kernels and softmax."""
    return 4 * vector_bytes


@cache
def _detected() -> tuple[str, dict[str, bool]]:
    """LLVM's name of this system and what its CPU can do; LLVM is asked once after each boot."""
    from tritorch.triton_cpu.llvm import binding_version

    try:
        with open("/proc/sys/kernel/random/boot_id", "rb", 0) as file:
            boot = file.read().decode()
    except OSError:
        return _ask_llvm()
    triple, features = remembered("host", f"{boot} {binding_version()}", _ask_llvm)
    return triple, features


def _ask_llvm() -> tuple[str, dict[str, bool]]:
    from tritorch.triton_cpu.llvm import binding

    llvm = binding()
    try:
        features = dict(llvm.get_host_cpu_features())
    except RuntimeError:  # LLVM cannot tell on this system: use what every such CPU has
        features = {}
    return llvm.get_process_triple(), features


@cache
def _host(setting: str) -> CPUTarget:
    triple, detected = _detected()
    present = frozenset(name for name, on in detected.items() if on)
    if setting != "native":
        if not triple.startswith("x86_64"):
            raise ConfigError(
                f"TRITORCH_CPU_FEATURES={setting} is for x86-64; this machine is {triple}. "
                "Use native."
            )
        missing = [flag for flag in LEVELS[setting][1] if flag not in present]
        if missing:
            raise ConfigError(
                f"TRITORCH_CPU_FEATURES={setting}: this CPU has no {', '.join(missing)}. "
                "Use a lower level."
            )
        return level(setting)
    found = detected_host()
    if found.has("amx-tile"):
        from tritorch.triton_cpu import tiles

        if not tiles.usable():
            found = _native(triple, {n: on and n[:4] != "amx-" for n, on in detected.items()})
    return found


def detected_host() -> CPUTarget:
    """This machine with all that its CPU can do, allowed or not."""
    return _native(*_detected())


def _native(triple: str, detected: dict[str, bool]) -> CPUTarget:
    present = frozenset(name for name, on in detected.items() if on)
    features = ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(detected.items()))
    vector_bytes = 16
    if triple.startswith("x86_64"):
        vector_bytes = 64 if "avx512f" in present else 32 if "avx2" in present else 16
        if vector_bytes == 64:
            features += ",-prefer-256-bit"
    return CPUTarget(
        triple=triple,
        cpu=_tuning_name(triple, present),
        features=features,
        vector_bytes=vector_bytes,
        strip_bytes=_strip_bytes(vector_bytes),
        flags=present,
    )


def _tuning_name(triple: str, present: frozenset[str]) -> str:
    """The CPU to tune for, from what it can do: under hypervisors its name is often wrong."""
    if not triple.startswith("x86_64"):
        if "sve2" in present:
            return "neoverse-v2"
        return "generic"
    amd = "sse4a" in present
    if amd:
        if "avx512f" in present:
            return "znver5" if "avx512vp2intersect" in present else "znver4"
        if "avx2" in present:
            return "znver3" if "vaes" in present else "znver2"
        return "x86-64"
    if "avx512f" in present:
        if "amx-tile" in present or "avx512fp16" in present:
            return "sapphirerapids"
        if "avx512vbmi2" in present:
            return "icelake-server"
        return "cascadelake" if "avx512vnni" in present else "skylake-avx512"
    if "avx2" in present:
        return "alderlake" if "avxvnni" in present else "haswell"
    return "x86-64"
