"""A Slurm of one node on this machine, with daemons of its own, for tests that run as root."""

import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

CONFIGURATION = Path("/etc/slurm/slurm.conf")  # the only place in which jobs look for it
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
PACKAGES = "Debian's slurm-wlm and munge"
CORES = 2


def obstacle() -> str | None:
    """Why no Slurm can be started here; None if one can."""
    if os.getuid():
        return "only root can start Slurm's daemons"
    if missing := [program for program in PROGRAMS if not shutil.which(program, path=_path())]:
        return f"no {', '.join(missing)}: install {PACKAGES}"
    running = {process.name() for process in psutil.process_iter()} & {"slurmctld", "slurmd"}
    return f"{', '.join(sorted(running))} runs here already" if running else None


@contextmanager
def one_node(directory: Path) -> Iterator[None]:
    """A Slurm whose files lie in `directory`; at its end nothing of it runs, and its configuration is gone."""
    munge = directory / "munge"
    for folder in (munge, directory / "state", directory / "spool"):
        folder.mkdir()
    (munge / "key").write_bytes(os.urandom(128))
    (munge / "key").chmod(0o400)
    daemons: list[subprocess.Popen[bytes]] = []
    with _configured(directory), (directory / "daemons.log").open("w") as log:
        try:
            for name, flags in _commands(munge).items():
                command, environment = [name, *flags], {**os.environ, "PATH": _path()}
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
                _wait(partial(READY[name], munge))
            yield
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait(100)


def jobs(*states: str) -> list[str]:
    """Number, state and cores of every job in one of the `states`, or of all."""
    return _says("squeue", "--noheader", "--states", ",".join(states) or "all", "--format", "%A %T %C").splitlines()


def cancel_all() -> None:
    """End every job."""
    if left := [line.split()[0] for line in jobs("pending", "running", "completing")]:
        subprocess.run(["scancel", *left], check=True)
        _wait(lambda: not jobs("pending", "running", "completing"))


MUNGE_FILES = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
READY = {
    "munged": lambda munge: (munge / "socket").exists(),
    "slurmctld": lambda _: _says("scontrol", "ping").count("UP"),
    "slurmd": lambda _: "idle" in _says("sinfo", "--noheader", "--format", "%T"),
}


def _commands(munge: Path) -> dict[str, list[str]]:
    """The daemons in the order in which they start, with their flags."""
    places = [f"--{kind}={munge / name}" for kind, name in MUNGE_FILES.items()]
    return {
        "munged": ["--foreground", "--force", *places],
        "slurmctld": ["-D", "-c"],
        "slurmd": ["-D", "-N", "localhost"],
    }


@contextmanager
def _configured(directory: Path) -> Iterator[None]:
    """Slurm's configuration in its place, alone; at the end what was there before."""
    CONFIGURATION.parent.mkdir(exist_ok=True)
    before = CONFIGURATION.read_bytes() if CONFIGURATION.exists() else None
    place = os.open(CONFIGURATION.parent, os.O_RDONLY)
    fcntl.flock(place, fcntl.LOCK_EX)
    try:
        CONFIGURATION.write_text(_configuration(directory))
        yield
    finally:
        CONFIGURATION.unlink() if before is None else CONFIGURATION.write_bytes(before)
        os.close(place)


def _configuration(directory: Path) -> str:
    ports = [_free_port(), _free_port()]
    return f"""ClusterName=test
SlurmctldHost=localhost
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
CredType=cred/munge
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_min_interval=0
KillWait=2
EnforcePartLimits=ALL
NodeName=localhost NodeAddr=127.0.0.1 CPUs={CORES} RealMemory=8000 State=UNKNOWN
PartitionName=tests Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _says(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _wait(condition: object, seconds: float = 100) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "Slurm did not come up, or a job did not end"
        time.sleep(0.1)
