"""An app that writes down what a cluster sends to the database: a line for each statement of this package's code.

Rules of this file: whose statement it is, the call stack says. What django-q2 sends by itself (its broker's polls, its
scheduler) is counted apart, as "theirs". BEGIN and COMMIT are no statements of a cursor and are not seen.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created

OURS = f"{os.sep}django_workflow{os.sep}"


class CountedConfig(AppConfig):
    """Counts in each process of the cluster; ``COUNTED`` names the file."""

    name = "tests.load.counted"

    def ready(self) -> None:
        """See each connection as it is made."""
        connection_created.connect(_made, dispatch_uid="tests.load.counted")


def _made(connection: Any, **_: Any) -> None:
    if _write not in connection.execute_wrappers:
        connection.execute_wrappers.append(_write)


def _write(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    line = {
        "at": time.time(),
        "pid": os.getpid(),
        "thread": threading.current_thread().name,
        "ours": _is_ours(),
        "sql": str(sql)[:200],
    }
    file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{json.dumps(line)}\n".encode())  # one write: lines of many processes don't mix
    finally:
        os.close(file)
    return execute(sql, params, many, context)


def _is_ours() -> bool:
    frame: Any = sys._getframe(2)
    while frame is not None:
        if OURS in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False
