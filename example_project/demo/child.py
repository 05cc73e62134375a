"""`manage.py` as the demo runs it: `python -m example_project.demo.child COMMAND …`.

When the demo dies, even by SIGKILL, the kernel sends the signal of `man 2 prctl`, PR_SET_PDEATHSIG: once for each
thread that the demo had, for the process is handed from one dying thread to the next. A second SIGTERM on the heels
of the first would meet django-q2 in the middle of its handler, where it waits for a lock of its own for ever. So the
kernel sends SIGUSR1, and the first of these becomes one SIGTERM.
"""

import os
import signal
import sys
from types import FrameType

DEMO_DIED = signal.SIGUSR1

_told = False


def stop_once(signum: int, frame: FrameType | None) -> None:
    """The demo has died: stop this process as SIGTERM does, once."""
    global _told
    if not _told:
        _told = True
        signal.signal(DEMO_DIED, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    signal.signal(DEMO_DIED, stop_once)
    execute_from_command_line(["manage.py", *sys.argv[1:]])
