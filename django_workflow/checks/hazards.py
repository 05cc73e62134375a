"""What a handler must not call, and what to write in its place: a table, no code that looks at source.

A name is a dotted path as `names.py` finds it: where the thing is defined, not how the handler spells it.
One that ends in a dot covers everything below it. Listed is what gives another answer on a replay, or happens again.
Left out is what only may do so (logging, `print`, settings): a warning that is often wrong is switched off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Hazard:
    """One reason why a call doesn't belong in a handler."""

    why: str
    remedy: str
    names: tuple[str, ...] = ()
    # Names below a prefix that are harmless after all.
    harmless: tuple[str, ...] = ()
    # True iff only a call without arguments is meant: Random(7) and localtime(t) always give the same.
    only_bare: bool = False

    def covers(self, name: str) -> bool:
        """True if the dotted name is one of these."""
        return name not in self.harmless and any(
            name.startswith(each) if each.endswith(".") else name == each for each in self.names
        )


CLOCK = "reads the clock, which shows another time on every replay"
USE_NOW = "Use step.now(): the time at which the last answer came, the same on every replay."
DICE = "throws dice, which fall differently on every replay"
USE_RANDOM = "Use step.random, whose dice fall alike on every replay."
USE_ACTION = "Move it into a function of its own and call that with `await step.run_action(function, …)`."
USE_QUERY = (
    "Move it into a function of its own and call that with `await step.run_query(function, …)`, or with "
    "`run_mutation` if it writes."
)

UNORDERED_SET = Hazard(
    "goes through a set, whose order differs between processes",
    "Put it in order first: `for item in sorted(items):`.",
)

HAZARDS = (
    Hazard(
        CLOCK,
        USE_NOW,
        (
            "datetime.datetime.now",
            "datetime.datetime.utcnow",
            "datetime.datetime.today",
            "datetime.date.today",
            "django.utils.timezone.now",
            *(
                f"time.{clock}{unit}"
                for clock in ("time", "monotonic", "perf_counter", "process_time", "thread_time")
                for unit in ("", "_ns")
            ),
        ),
    ),
    Hazard(
        CLOCK,
        USE_NOW,
        (
            "django.utils.timezone.localtime",
            "django.utils.timezone.localdate",
            "time.ctime",
            "time.gmtime",
            "time.localtime",
        ),
        only_bare=True,
    ),
    Hazard(
        "blocks the worker, at every replay again",
        "Use `await step.sleep(seconds)`: it is durable and holds no worker.",
        ("time.sleep",),
    ),
    Hazard(
        DICE,
        USE_RANDOM,
        ("random.Random",),
        only_bare=True,
    ),
    Hazard(
        DICE,
        USE_RANDOM,
        ("random.",),
        harmless=("random.Random",),
    ),
    Hazard(
        DICE,
        USE_RANDOM,
        ("numpy.random.",),
        harmless=("numpy.random._generator.default_rng", "numpy.random.mtrand.RandomState"),
    ),
    Hazard(
        DICE,
        USE_RANDOM,
        ("numpy.random._generator.default_rng", "numpy.random.mtrand.RandomState"),
        only_bare=True,
    ),
    Hazard(
        DICE,
        "Use step.uuid4(), which is the same on every replay and different between workflows.",
        ("uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7"),
    ),
    # Not step.random: its dice follow from the workflow's id, which is no secret.
    Hazard(
        "makes up a secret, another one on every replay",
        "Make it in a function of its own and call that with `await step.run_action(function, …)`, which keeps it.",
        ("secrets.", "posix.urandom", "nt.urandom", "django.utils.crypto.get_random_string"),
        harmless=("secrets.compare_digest",),
    ),
    Hazard(
        "gives another number in every process",
        "Use a value that stays: a key of your own, or a digest by hashlib.",
        ("builtins.hash", "builtins.id"),
    ),
    Hazard(
        "uses the network, at every replay again",
        USE_ACTION,
        (
            "aiohttp.",
            "asyncio.streams.open_connection",
            "boto3.",
            "botocore.",
            "ftplib.",
            "http.client.",
            "httpx.",
            "imaplib.",
            "poplib.",
            "redis.",
            "requests.",
            "smtplib.",
            "_socket.",
            "socket.",
            "urllib.request.",
            "urllib3.",
        ),
    ),
    Hazard("sends mail, at every replay again", USE_ACTION, ("django.core.mail.",)),
    Hazard(
        "uses the cache, which has another answer on every replay",
        USE_ACTION,
        ("django.core.cache.",),
    ),
    Hazard(
        "uses files, at every replay again",
        USE_ACTION,
        (
            "_io.open",
            "io.open",
            "builtins.open",
            "genericpath.",
            "posix.",
            "nt.",
            "os.listdir",
            "os.makedirs",
            "os.removedirs",
            "os.renames",
            "os.walk",
            "shutil.",
            "tempfile.",
            *(
                f"pathlib.Path.{method}"
                for method in (
                    "chmod",
                    "cwd",
                    "exists",
                    "glob",
                    "home",
                    "is_dir",
                    "is_file",
                    "iterdir",
                    "mkdir",
                    "open",
                    "read_bytes",
                    "read_text",
                    "rename",
                    "replace",
                    "resolve",
                    "rglob",
                    "rmdir",
                    "stat",
                    "touch",
                    "unlink",
                    "write_bytes",
                    "write_text",
                )
            ),
        ),
        harmless=(
            "genericpath.commonprefix",
            "posix.fspath",
            "nt.fspath",
            "posix.urandom",
            "nt.urandom",
            "shutil.get_terminal_size",
        ),
    ),
    Hazard(
        "starts a process, at every replay again",
        USE_ACTION,
        (
            "asyncio.subprocess.create_subprocess_exec",
            "asyncio.subprocess.create_subprocess_shell",
            "multiprocessing.",
            "os.popen",
            "subprocess.",
        ),
    ),
    Hazard(
        "leaves the handler for a thread, which no replay waits for",
        USE_ACTION,
        ("asyncio.threads.to_thread", "asgiref.sync.", "concurrent.futures.thread.", "threading."),
    ),
    Hazard(
        "reads the environment, which differs between processes and deploys",
        "Hand the value over as an argument of the workflow, or read it in a function of its own with "
        "`await step.run_query(function, …)`.",
        ("os.getenv", "os._Environ.", "os._Environ[]"),
    ),
    Hazard(
        "takes its answers in no fixed order",
        "Use `index, result = await step.first_completed(*awaitables)`, or asyncio.gather for all of them.",
        ("asyncio.tasks.wait",),
    ),
    Hazard(
        "takes its answers in no fixed order",
        "Use `async for task in step.as_completed(*awaitables):`.",
        ("asyncio.tasks.as_completed",),
    ),
    Hazard(
        "uses the database, at every replay again",
        USE_QUERY,
        (
            "django.shortcuts.get_list_or_404",
            "django.shortcuts.get_object_or_404",
            "django.shortcuts.aget_list_or_404",
            "django.shortcuts.aget_object_or_404",
            "django.db.models.manager.BaseManager.",
            "django.db.models.query.QuerySet.",
            *(
                f"django.db.models.base.Model.{method}"
                for method in (
                    "adelete",
                    "arefresh_from_db",
                    "asave",
                    "delete",
                    "full_clean",
                    "refresh_from_db",
                    "save",
                    "validate_unique",
                )
            ),
            "django.db.transaction.",
            "django.db.utils.ConnectionHandler.",
            "django.db.utils.ConnectionHandler[].",
            "psycopg.",
            "psycopg2.",
            "pymysql.",
            "sqlite3.",
        ),
    ),
)


def find(names: Iterable[str], *, bare: bool, exactly: bool = False) -> Hazard | None:
    """The first hazard that one of the names falls under.

    Args:
        names: dotted names of what is called.
        bare: the call has no arguments.
        exactly: prefixes don't count.
    """
    for name in names:
        for hazard in HAZARDS:
            if (
                (bare or not hazard.only_bare)
                and hazard.covers(name)
                and not (exactly and name not in hazard.names)
            ):
                return hazard
    return None
