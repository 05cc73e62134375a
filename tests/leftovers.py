"""What tests have left in django-q2's queue, or are about to leave there."""

import threading

from django_q.models import OrmQ


def await_wake_ups() -> None:
    """Wait until what is held back is sent: a second wake-up within a window goes at its end."""
    for thread in threading.enumerate():
        if thread.name == "django_workflow wake-up":
            thread.join(20)


def empty_queue() -> None:
    """Let the queue be as if no test had been before this one."""
    await_wake_ups()
    OrmQ.objects.all().delete()
