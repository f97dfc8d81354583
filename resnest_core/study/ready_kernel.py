"""What Jupyter starts as a kernel: it asks the process of `ready.py` for one, or becomes one itself.

Standard library only, without site-packages, so that it costs nothing.
"""

import json
import os
import socket
import sys


def main() -> int:
    arguments, parent = sys.argv[2:], os.getppid()
    try:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(os.environ["RESNEST_READY_SOCKET"])
    except OSError:
        os.execv(sys.executable, [sys.executable, "-m", "ipykernel_launcher", *arguments])
    wanted = {"arguments": arguments, "directory": os.getcwd(), "environment": dict(os.environ)}
    socket.send_fds(connection, [json.dumps(wanted).encode()], [1, 2])
    connection.settimeout(1)
    while os.getppid() == parent:
        try:
            status = connection.recv(1)
        except TimeoutError:
            continue
        except OSError:
            return 1
        return status[0] if status else 1
    return 1  # whoever wanted the kernel is gone, and its socket goes with this process


if __name__ == "__main__":
    sys.exit(main())
