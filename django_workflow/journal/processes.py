"""Who takes leases, and whether it still lives (R1, R25).

Rules of this file: a process is judged by this host's kernel alone, and only when it certainly ran here: the
same boot, the same PID namespace. Whatever can't be known (another host, a system without /proc) counts as
alive, and its leases run out by themselves.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from django.db import models

from django_workflow.handler import registry
from django_workflow.journal import database
from django_workflow.journal.clock import Now, monotonic
from django_workflow.models import Process, Slot, Step, Workflow

SEEN_SECONDS: Final = 60.0  # between two refreshes of a process's seen_at
STALE_AFTER: Final = timedelta(days=1)  # without a sign of life, before the row of a process is dropped
PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """One process, as R25 tells it from all others."""

    id: UUID
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    start_time: str


class _Self:
    """This process. A fork makes a new one: a child must never pass its parent's fences."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.cluster = ""
        self.registered = False
        self.registered_at = 0.0  # monotonic
        self.seen_at = 0.0  # monotonic
        self.claims = itertools.count(1)
        self.lock = threading.Lock()


_self = _Self()


def _forked() -> None:
    global _self
    _self = _Self()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


# ── this process ─────────────────────────────────────────────────────────────────────────────────────────────────


def identity() -> Identity:
    """This process's identity; the same until it forks."""
    with _self.lock:
        if _self.identity is None:
            _self.identity = _identify()
        return _self.identity


def belong(cluster: str) -> None:
    """Say which django-q2 cluster this process is a worker of, before its row is written. No statement."""
    _self.cluster = cluster


def token() -> str:
    """A token for one claim (R1): never used before, by no process. The first one registers the process."""
    register()
    return f"{identity().id.hex}:{next(_self.claims)}"


def register() -> None:
    """Write this process's row, once: one statement, in the caller's transaction if there is one.

    Should that be rolled back, its tokens belong to nobody who is known: they wait for their leases to end.
    """
    if _self.registered:
        return
    me = identity()
    with _self.lock:
        if not _self.registered:
            _self.registered_at = _self.seen_at = monotonic()
            _insert(me)
            _self.registered = True


def seen() -> None:
    """Refresh this process's sign of life, at most every `SEEN_SECONDS`; writes a row that was lost anew."""
    if not _self.registered:
        register()
    elif monotonic() - _self.seen_at >= SEEN_SECONDS:
        _self.seen_at = monotonic()
        if not _rows().filter(id=identity().id).update(seen_at=Now()):
            _insert(identity())


def _insert(me: Identity) -> None:
    Process(
        id=me.id,
        host=me.host[:255],
        boot_id=me.boot_id,
        pid_namespace=me.pid_namespace,
        pid=me.pid,
        start_time=me.start_time,
        cluster=_self.cluster,
        definitions_text=json.dumps(registry.known()),
        # A row that was lost and is written anew makes no younger process of this one (R27).
        started_at=Now(timedelta(seconds=_self.registered_at - monotonic())),
        seen_at=Now(),
    ).save(using=database.alias(), force_insert=True)


def _identify() -> Identity:
    process_id, pid = uuid.uuid4(), os.getpid()
    boot_id, namespace = _boot_id(), _pid_namespace()
    start_time = _start_time(pid)
    if boot_id is None or namespace is None or start_time is None:
        # Without the kernel's word nothing here may look like the row of another process.
        boot_id = namespace = start_time = process_id.hex[:32]
    return Identity(process_id, socket.gethostname(), boot_id, namespace, pid, start_time)


# ── processes of this host ───────────────────────────────────────────────────────────────────────────────────────


def on_this_host() -> list[Process]:
    """The processes that ran, or run, under this kernel and in this PID namespace. One statement."""
    me = identity()
    return list(_rows().filter(boot_id=me.boot_id, pid_namespace=me.pid_namespace).order_by("pid", "id"))


def dead_on_this_host() -> list[Process]:
    """Those of `on_this_host()` that live no more. One statement."""
    return [process for process in on_this_host() if is_dead(process)]


def is_dead(process: Process) -> bool:
    """True iff this process certainly lives no more. No statement: the kernel is asked."""
    me = identity()
    if (process.boot_id, process.pid_namespace) != (me.boot_id, me.pid_namespace):
        return False
    stat = _stat(process.pid)
    if stat is None:
        return not _exists(process.pid)
    # A zombie has let go of everything; another start time is another process that got the same pid.
    return stat.state in "ZX" or stat.start_time != process.start_time


def release_dead(process: Process) -> int:
    """Make all that a dead process leased due now, then drop its row; returns how many rows became due.

    The tokens stay, since the next claim sees by them that it takes over from a crash. Each statement stands
    for itself: repeating them does no harm, and no lock is held from one to the next.
    """
    held = {"lease_owner__isnull": False, "lease_owner__startswith": f"{process.id.hex}:"}
    freed = sum(
        # "Not due yet" in words that keep SQLite from going through all that sleeps.
        rows.using(database.alias()).filter(**held).exclude(due_at__lte=Now()).update(due_at=Now())
        for rows in (Workflow.objects, Step.objects, Slot.objects)
    )
    _rows().filter(id=process.id).delete()
    return freed


def drop_stale() -> int:
    """Drop the rows of processes that gave no sign of life for a day and hold no lease; returns how many."""
    stale = _rows().filter(seen_at__lt=Now(-STALE_AFTER))
    idle = [process.id for process in stale if not _holds_a_lease(process)]
    return stale.filter(id__in=idle).delete()[0]


def _holds_a_lease(process: Process) -> bool:
    return any(
        rows.using(database.alias()).filter(lease_owner__startswith=f"{process.id.hex}:").exists()
        for rows in (Workflow.objects, Step.objects, Slot.objects)
    )


def _rows() -> models.QuerySet[Process]:
    return Process.objects.using(database.alias())


# ── what the kernel says ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Stat:
    state: str
    start_time: str


def _stat(pid: int) -> _Stat | None:
    """State and start time of a process (proc(5), /proc/pid/stat, fields 3 and 22), or None where there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # Field 2 is the command's name in brackets, and may hold blanks and brackets itself.
    after_name = text.rpartition(")")[2].split()
    return _Stat(after_name[0], after_name[19]) if len(after_name) > 19 else None


def _start_time(pid: int) -> str | None:
    stat = _stat(pid)
    return stat.start_time if stat else None


def _exists(pid: int) -> bool:
    # /proc may hide other users' processes (mount option hidepid); signal 0 still tells whether they are there.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _boot_id() -> str | None:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def _pid_namespace() -> str | None:
    try:
        # A /proc of another namespace would show other processes under our numbers.
        ours = str((PROC / "self").readlink()) == str(os.getpid())
        return str((PROC / "self/ns/pid").readlink()) if ours else None
    except OSError:
        return None
