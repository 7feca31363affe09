"""NVIDIA GPUs as a target: memory, streams, launches and graphs over CUDA's driver API.

No C, no nvcc, no torch, and not Triton's own `driver.c`: Triton compiles kernels to cubins, this
package loads and launches them. What talks to the driver is an object with the methods of
`driver.Driver`; `bindings.BindingsDriver` is the one of NVIDIA's package cuda-bindings
(`pip install tritorch[cuda]`), and tests bring one that keeps "device memory" on the host.

| module | offers | imports from here |
|---|---|---|
| `driver` | the protocol `Driver`, `DriverError`, CUDA's numbers by name | |
| `bindings` | `BindingsDriver`, `load_driver()` | `driver` |
| `memory_statistics` | `Figures`: the counters behind `memory_stats()` | |
| `allocator` | memory of one device, by stream | `driver`, `memory_statistics` |
| `free_lists` | the allocator's blocks as `Storage` asks for them | |
| `properties` | what a device is like | `driver` |
| `pointers` | what the driver knows of an address | `driver` |
| `pinned` | `PinnedMemory`: page-locked host memory, kept for reuse | `driver` |
| `staging` | copies between pageable host memory and a device, in pinned pieces | `pinned` |
| `current` | the current device and stream of each thread | `driver` |
| `faults` | what an error means: the last launches, wrong indices, asserts | `driver` |
| `cubin` | what a cubin says: arguments, registers, stack, shared memory | |
| `code` | a kernel's cubin and what its launch needs, from the cache or Triton | `cubin` |
| `allowances` | shared memory and clusters that kernels must be allowed | `properties` |
| `launcher_ir` | the launch as machine code: one call of `cuLaunchKernelEx` | |
| `launcher` | `Launcher.bind`: what does not change between launches, packed | `launcher_ir` |
| `launches` | launches around launches: without scratch memory, with random numbers | |
| `graphs` | `Capture`: recording a graph, its own memory, replay | `allocator` |
| `one_device` | `OneDevice`: the target of tensors on one of several devices | |
| `target` | `CUDATarget`, which puts the others together | all |

Rules that the modules share:
- Work is ordered by streams. Memory that is freed goes to the next one who asks *on the same
  stream* at once; whoever uses it on another stream says so (`record_stream`).
- The host waits in `target.py` and `staging.py` only; wherever it waits, `faults` looks whether
  kernels met wrong indices, and raises for them.
- A driver call that fails raises `DriverError`; at the room's border (`target`) it becomes an error
  of the user's: out of memory with figures, an illegal access with the names of the last kernels.
- Everything that belongs to a process (contexts, memory, streams) is unusable after a fork; the
  child gets one clear error (`CUDATarget.usable`).
"""
