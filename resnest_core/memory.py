"""Memory that networks and processes take."""

import ctypes
import resource
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

RESET_PEAK = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt


@dataclass(frozen=True)
class Memory:
    """Bytes that were taken at a peak, and how that was found."""

    bytes: int
    method: str


def inference_memory(model: nn.Module, images: Tensor) -> Memory:
    """What inference takes at the peak of a pass of `images` (N, 3, H, W): weights, running statistics, and the pass.

    The pass is what the allocator gives out on a GPU. On a CPU it is the tensors alive at once, without what a kernel
    takes for itself: the resident size counts holes of the heap, too, and differs by half from run to run.
    """
    model.eval()
    held = [*model.parameters(), *model.buffers()]
    weights = sum(tensor.nbytes for tensor in held)
    if images.is_cuda:
        found = peak_memory(torch.inference_mode()(lambda: model(images)), images.device)
        return Memory(weights + found.bytes, f"weights and {found.method}")
    with torch.no_grad(), _LivingTensors([*held, images]) as living:
        model(images)
    return Memory(weights + living.most, "weights and tensors alive at once")


def peak_memory(call: Callable[[], object], device: torch.device | str = "cpu") -> Memory:
    """Memory of `call` at its peak, beyond what was held before it. A first call also pays for setting kernels up.

    On a GPU that of torch's allocator. On Linux the resident size, whose high-water mark the kernel lets a process
    reset; elsewhere it cannot be reset, so that an earlier and higher peak is counted, which the method says. A process
    that has freed large tensors before may keep in its heap what the call frees, so that it counts too.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return Memory(torch.cuda.max_memory_allocated(device) - before, "peak of the CUDA allocator")
    with _returning_freed_memory():
        before = psutil.Process().memory_info().rss
        exact = _reset_peak()
        call()
        method = "peak resident size" if exact else "highest resident size since the process began"
        return Memory(max(_high_water() - before, 0), method)


def process_peak_memory() -> int:
    """Highest resident size of this process in bytes since it began, whatever `peak_memory` has reset."""
    return max(_high_water(), _highest_before_reset)


def device_peak_memory(device: torch.device) -> int:
    """Highest memory in bytes that this process has taken on `device`."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else process_peak_memory()


class _LivingTensors(TorchDispatchMode):
    """Bytes of the storages that operations make, now and at the `most`; those `held` before do not count."""

    def __init__(self, held: list[Tensor]) -> None:
        super().__init__()
        self.known = weakref.WeakSet(tensor.untyped_storage() for tensor in held)
        self.now = self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self.known:
            return
        self.known.add(storage)
        self._add(storage.nbytes())
        weakref.finalize(storage, self._add, -storage.nbytes()).atexit = False

    def _add(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)


_highest_before_reset = 0


def _reset_peak() -> bool:
    """Set the high-water mark of the resident size to its present value, where the kernel has that (proc(5))."""
    global _highest_before_reset
    _highest_before_reset = process_peak_memory()
    try:
        RESET_PEAK.write_text("5")
    except OSError:
        return False
    return True


def _high_water() -> int:
    """High-water mark of the resident size in bytes."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def _returning_freed_memory() -> Iterator[None]:
    """Have the C library return each freed tensor to the kernel at once, where it can be told to (mallopt(3)).

    Left alone, it keeps freed memory and fragments it: the same pass then seems to take from nothing to twice as much.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(MMAP_THRESHOLD, 2**16)
    library.malloc_trim(0)
    try:
        yield
    finally:  # to where its own adaptation ends after a few large tensors
        library.mallopt(MMAP_THRESHOLD, 2**25)
        library.mallopt(TRIM_THRESHOLD, 2**26)
