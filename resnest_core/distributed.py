"""Several processes that share one piece of work, as torchrun starts them; one on its own is the first of one."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
# torchrun ends the others if a process fails, so that none has to give up waiting by itself.
LONGEST_WAIT = timedelta(days=7)
GRACE = 5.0  # seconds in which it does so


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


@contextmanager
def together() -> Iterator[None]:
    """Work in which processes need each other.

    Where one fails the others lose their connection. They keep still until torchrun ends them, so that the first error
    is the one to be read.
    """
    try:
        yield
    except RuntimeError:
        _wait_for_the_end()
        raise


def after_first() -> None:
    """Wait, unless this is the first process, until torchrun would have ended this one if the first had failed, too."""
    if not is_first():
        _wait_for_the_end()


def part_with(line: str) -> None:
    """Print `line` once for all processes, and leave the others."""
    if is_first():
        print(line)
    if world() > 1:
        join().destroy_process_group()


@cache
def join() -> Any:
    """torch.distributed, the processes having met: gloo carries what is on CPUs, nccl what is on GPUs."""
    import torch.distributed  # seconds to import, for several processes alone

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(timeout=LONGEST_WAIT)
    return torch.distributed


def _wait_for_the_end() -> None:
    if world() > 1:
        time.sleep(GRACE)
