"""A worker in a process of its own, for behaviours that need one: `python -m tests.behaviours.worker [SECONDS]`.

With an argument the clock that Python shows to this process is ahead by so many seconds: `time`, `datetime` and what
is built on them. The database's clock is not touched. The process answers one wake-up, like a worker of a cluster.
"""

import datetime as datetime_module
import sys
import time
from typing import Any


def shift_clocks(seconds: float) -> None:
    """Let every clock of Python's in this process be ahead by `seconds`, for whoever imports it from now on."""
    real_time, real_time_ns, real_datetime = time.time, time.time_ns, datetime_module.datetime
    ahead = datetime_module.timedelta(seconds=seconds)

    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real_datetime)

    class Shifted(real_datetime, metaclass=Meta):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real_datetime.now(tz) + ahead

        @classmethod
        def utcnow(cls) -> Any:
            return real_datetime.now(datetime_module.UTC).replace(tzinfo=None) + ahead

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_time_ns() + int(seconds * 1_000_000_000)
    datetime_module.datetime = Shifted  # type: ignore[misc]


def main() -> None:
    if sys.argv[1:]:
        shift_clocks(float(sys.argv[1]))
    import django

    django.setup()
    from django_workflow.cluster.tasks import drain
    from tests.behaviours import hosts  # noqa: F401  its definitions are in no installed app

    drain()


if __name__ == "__main__":
    main()
