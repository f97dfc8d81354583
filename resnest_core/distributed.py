"""Several processes that share one piece of work, as torchrun starts them; one on its own is the first of one."""

import gc
import os
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
# torchrun ends the others if a process fails, so that none has to give up waiting by itself.
LONGEST_WAIT = timedelta(days=7)
SHORT_WAIT = timedelta(seconds=10)


def world() -> int:
    """How many processes there are, on all machines."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Which of them this one is."""
    return int(os.environ["RANK"]) if world() > 1 else 0


def local_rank() -> int:
    """Which of those on this machine this one is."""
    return int(os.environ["LOCAL_RANK"]) if world() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that writes and prints what all have made."""
    return rank() == 0


def part() -> slice:
    """The part of any sequence that falls to this process; the parts differ by one element at the most."""
    return slice(rank(), None, world())


def of_first(make: Callable[[], T]) -> T:
    """What `make` returns in the first process, which alone calls it."""
    if world() == 1:
        return make()
    made: list[Any] = [make() if is_first() else None]
    join().broadcast_object_list(made)
    return made[0]


def barrier() -> None:
    """Wait until all processes are here."""
    if world() > 1:
        join().barrier()


def total(value: "Tensor") -> "Tensor":
    """The sum of the processes' tensors, which gradients do not go through."""
    if world() == 1:
        return value
    summed = value.detach().clone()
    join().all_reduce(summed)
    return summed


def is_first_to_fail() -> bool:
    """Whether this process, which has failed, is the first to say so: others then fail for want of it."""
    if world() == 1:
        return True
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = import_module("torch.distributed").TCPStore(*place, is_master=False, timeout=SHORT_WAIT)
        return store.add(f"failed in attempt {attempt}", 1) == 1
    except RuntimeError:  # no torchrun is there any more to keep the count
        return True


def part_with(line: str) -> None:
    """Print `line` once for all processes, and leave the others."""
    if is_first():
        print(line)
    if world() > 1:
        gc.collect()  # a network that was trained lies in a circle of references, and holds the group
        join().destroy_process_group()


@cache
def join() -> Any:
    """torch.distributed, the processes having met: gloo carries what is on CPUs, nccl what is on GPUs."""
    library = import_module("torch.distributed")  # takes seconds, for several processes alone
    # Loaded later (as DistributedDataParallel and torch.compile do), its functions' defaults would hold the group for
    # good, whose threads then outlive `part_with` and now and then abort the process at its end.
    import_module("torch.distributed.nn.functional")
    if not library.is_initialized():
        library.init_process_group(timeout=LONGEST_WAIT)
    return library
