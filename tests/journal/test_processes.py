"""Who is dead, who lives, and what becomes of the leases of the dead (R1, R25)."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from django_workflow.journal import clock, processes
from django_workflow.journal.clock import Now
from django_workflow.models import Process, Step, Workflow
from tests.cluster.qcluster import eventually

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _another_process() -> Iterator[None]:
    # What a fork does: each test is a process that has not registered yet.
    processes._forked()
    yield
    processes._forked()


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits until it is told to end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def row_of(pid: int, **others: Any) -> Process:
    """The row of a process of this host."""
    me = processes.identity()
    stat = processes._stat(pid)
    assert stat is not None
    values = {
        "id": uuid.uuid4(),
        "host": me.host,
        "boot_id": me.boot_id,
        "pid_namespace": me.pid_namespace,
        "pid": pid,
        "start_time": stat.start_time,
        "started_at": Now(),
        "seen_at": Now(),
    }
    return Process.objects.create(**(values | others))


def leased(token: str | None, **others: Any) -> Workflow:
    """A workflow that a claim holds for another hour."""
    values = {
        "id": clock.new_id(),
        "definition": "none",
        "due_at": Now(timedelta(hours=1)),
        "lease_owner": token,
        "created_at": Now(),
    }
    return Workflow.objects.create(**(values | others))


def is_due(row: Workflow | Step) -> bool:
    return type(row)._default_manager.filter(pk=row.pk, due_at__lte=clock.read(connection)).exists()


# ── this process ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_tokens_are_unique_and_the_first_registers_the_process(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    processes.belong("tests")
    with django_assert_num_queries(1):
        tokens = [processes.token() for _ in range(3)]
    me = Process.objects.get()
    assert len(set(tokens)) == 3
    assert all(token.startswith(f"{me.id.hex}:") for token in tokens)
    assert (me.pid, me.cluster, me.id) == (os.getpid(), "tests", processes.identity().id)
    assert not processes.is_dead(me)


def test_a_sign_of_life_is_seldom_and_brings_a_lost_row_back(
    django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes.seen()
    with django_assert_num_queries(0):
        processes.seen()
    Process.objects.all().delete()
    monkeypatch.setattr(processes, "SEEN_SECONDS", 0.0)
    processes.seen()
    assert Process.objects.get().id == processes.identity().id


def test_a_fork_is_another_process() -> None:
    code = (
        "import django, os, sys; django.setup()\n"
        "from django_workflow.journal import processes\n"
        "print(processes.identity().id, processes.identity().pid == os.getpid(), flush=True)\n"
        "child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
        "else: print(processes.identity().id, processes.identity().pid == os.getpid(), flush=True)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    (parent, is_parent), (forked, is_forked) = (line.split() for line in shown.splitlines())
    assert parent != forked
    assert (is_parent, is_forked) == ("True", "True")


def test_without_proc_nobody_is_ever_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: "subprocess.Popen[bytes]"
) -> None:
    row = row_of(child.pid)
    child.kill()
    child.wait()
    assert processes.is_dead(row)
    processes._forked()
    monkeypatch.setattr(processes, "PROC", tmp_path)
    first = processes.identity()
    assert not processes.is_dead(row)
    processes._forked()
    assert (first.boot_id, first.pid_namespace) != (
        processes.identity().boot_id,
        processes.identity().pid_namespace,
    )


# ── who is dead ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_process_lives_until_it_is_killed_and_a_zombie_is_dead(child: "subprocess.Popen[bytes]") -> None:
    row = row_of(child.pid)
    assert not processes.is_dead(row)
    assert processes.dead_on_this_host() == []
    child.kill()
    # Nobody has waited for it yet: it is a zombie, to which signals can still be sent.
    eventually(lambda: processes.is_dead(row), "the death of the child")
    os.kill(child.pid, 0)
    child.wait()
    assert processes.dead_on_this_host() == [row]


def test_another_process_with_the_same_pid_is_another_process() -> None:
    assert processes.is_dead(row_of(os.getpid(), start_time="1"))
    assert not processes.is_dead(row_of(os.getpid()))


@pytest.mark.parametrize("elsewhere", [{"boot_id": "another"}, {"pid_namespace": "pid:[1]"}])
def test_what_ran_elsewhere_is_never_judged(
    child: "subprocess.Popen[bytes]", elsewhere: dict[str, str]
) -> None:
    row = row_of(child.pid, **elsewhere)
    child.kill()
    child.wait()
    assert not processes.is_dead(row)
    assert processes.dead_on_this_host() == []


def test_a_name_with_brackets_does_not_confuse() -> None:
    code = "import pathlib; pathlib.Path('/proc/self/comm').write_text('a) Z (b'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as renamed:
        assert renamed.stdout is not None
        renamed.stdout.readline()
        stat = processes._stat(renamed.pid)
        row = row_of(renamed.pid)
        assert not processes.is_dead(row)
        renamed.kill()
    assert stat is not None
    assert stat.state in "RS"
    assert stat.start_time.isdigit()


# ── what the dead leave ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_dead_leased_is_due_at_once_and_says_whose_it_was() -> None:
    dead, alive = row_of(os.getpid(), start_time="1"), row_of(os.getpid())
    tokens = [f"{dead.id.hex}:1", f"{dead.id.hex}:22"]
    theirs = [leased(token) for token in tokens]
    step = Step.objects.create(
        workflow=theirs[0], number=1, kind="action", name="a", state="running", due_at=Now(timedelta(hours=1)),
        lease_owner=tokens[1], created_at=Now(),
    )  # fmt: skip
    kept = [leased(f"{alive.id.hex}:1"), leased(None)]

    assert processes.release_dead(dead) == 3
    assert all(is_due(row) for row in theirs)
    assert is_due(step)
    assert (
        list(Workflow.objects.filter(pk__in=[row.pk for row in theirs]).values_list("lease_owner", flat=True))
        == tokens
    )
    assert Step.objects.get().lease_owner == tokens[1]
    assert not any(is_due(row) for row in kept)
    assert list(Process.objects.all()) == [alive]
    assert processes.release_dead(dead) == 0


def test_a_lease_that_has_run_out_keeps_its_time() -> None:
    dead = row_of(os.getpid(), start_time="1")
    overdue = leased(f"{dead.id.hex}:1", due_at=Now(-timedelta(hours=1)))
    before = Workflow.objects.get(pk=overdue.pk).due_at
    assert processes.release_dead(dead) == 0
    assert Workflow.objects.get(pk=overdue.pk).due_at == before


def test_rows_without_a_sign_of_life_go_when_they_hold_nothing() -> None:
    long_ago = Now(-timedelta(days=2))
    gone = row_of(os.getpid(), boot_id="another", seen_at=long_ago)
    holding = row_of(os.getpid(), boot_id="another", seen_at=long_ago)
    leased(f"{holding.id.hex}:1")
    lately = row_of(os.getpid(), boot_id="another")
    assert processes.drop_stale() == 1
    assert not Process.objects.filter(id=gone.id).exists()
    assert set(Process.objects.all()) == {holding, lately}
