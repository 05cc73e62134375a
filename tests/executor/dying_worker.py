"""A worker with an executor that dies at its n-th commit: `python -m tests.executor.dying_worker N before|after`.

It drains until nothing is in progress, and prints how many commits there were, in all of its threads. A commit is the
end of a transaction, or a statement that writes outside of one. With N = 0 it doesn't die.
"""

import os
import signal
import sys
import threading
from itertools import count
from typing import Any

import django


def main(at: int, when: str) -> None:
    django.setup()
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.signals import connection_created

    from django_workflow.engine.drain import drain
    from django_workflow.engine.executor import Executor
    from django_workflow.engine.statements import writing_word
    from django_workflow.journal import processes, wakes
    from django_workflow.models import Workflow
    from tests.executor import bodies

    assert bodies.asks_for_real.name == "executor.asks_for_real"  # what it runs
    processes.token()  # registers this process: not one of the commits
    numbers, lock, last = count(1), threading.Lock(), [0]

    def committed(commit: Any) -> Any:
        with lock:
            number = last[0] = next(numbers)
        if number == at and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = commit()
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def made(connection: BaseDatabaseWrapper, **_: Any) -> None:
        commit = connection._commit  # type: ignore[attr-defined]  # the COMMIT itself, below Django's own

        def wrapper(execute: Any, sql: Any, *rest: Any) -> Any:
            if not connection.in_atomic_block and writing_word(str(sql)):
                return committed(lambda: execute(sql, *rest))
            return execute(sql, *rest)

        connection.execute_wrappers.append(wrapper)
        connection._commit = lambda: committed(commit)  # type: ignore[attr-defined]

    connection_created.connect(made)
    django.db.connections.close_all()
    wakes.register(None)
    executor = Executor()
    while Workflow.objects.in_progress().exists():
        drain(None, executor=executor)
        threading.Event().wait(0.005)
    executor.finish()
    print(last[0])  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
