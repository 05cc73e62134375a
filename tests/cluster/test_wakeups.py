"""Wake-ups on their way to django-q2: throttled but never the last one, and never an error of the caller's."""

import logging
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django_q.conf import Conf
from django_q.models import OrmQ, Task
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_workflow import Completed, workflow
from django_workflow.cluster import lifecycle, tasks, wakeups
from tests.cluster.app.workflows import hands_on, marks, naps
from tests.cluster.qcluster import environment, eventually, python
from tests.leftovers import await_wake_ups, empty_queue
from tests.shop.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _another_process(transactional_db: None) -> Iterator[None]:
    empty_queue()
    wakeups._forked()
    wakeups._complained_at = None
    yield
    await_wake_ups()  # what is held back is sent before the next test, and into this one's database
    wakeups._forked()


def messages() -> list[dict[str, Any]]:
    return [row.task for row in OrmQ.objects.order_by("id")]


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_a_path_and_a_name_that_django_q2_neither_stores_nor_times_out() -> None:
    wakeups.send("reports")
    (row,) = OrmQ.objects.all()
    (message,) = messages()
    assert row.key == "reports"
    assert (message["func"], message["args"], message["kwargs"]) == (wakeups.TASK, ("reports",), {})
    assert (message["timeout"], message["save"], message["ack_failure"]) == (-1, False, True)


def test_the_default_cluster_is_the_one_that_the_settings_name() -> None:
    wakeups.send("")
    assert OrmQ.objects.get().key == Conf.PREFIX
    with override_settings(Q_CLUSTER={"name": "site", "cluster_name": "night"}):
        assert wakeups.queue_name("") == "night"
    with override_settings(Q_CLUSTER={"name": "site"}):
        assert wakeups.queue_name("") == "site"
        assert wakeups.queue_name("reports") == "reports"


def test_a_burst_is_few_messages_and_its_last_wake_up_is_not_lost() -> None:
    began = monotonic()
    for _ in range(300):
        wakeups.send("")
    windows = int((monotonic() - began) / wakeups.WINDOW) + 1
    sent = OrmQ.objects.count()
    if wakeups._throttle._held_back:
        eventually(lambda: OrmQ.objects.count() > sent, "the wake-up that was held back")
    assert 1 <= OrmQ.objects.count() <= windows + 1


def test_one_that_is_held_back_is_sent_when_the_window_ends() -> None:
    throttle = wakeups._Throttle()
    assert throttle.admits("")
    assert not throttle.admits("")
    assert not throttle.admits("")
    assert throttle.admits("reports")  # each cluster has a window of its own
    eventually(lambda: OrmQ.objects.count() == 1, "the wake-up that was held back")


def test_one_that_still_waits_is_not_sent_again() -> None:
    wakeups.send_unless_waiting("")
    wakeups._forked()
    wakeups.send_unless_waiting("")
    assert OrmQ.objects.count() == 1
    # What waits may be others' tasks: now and then one goes behind them.
    wakeups.send_unless_waiting("", patience=0.0)
    assert OrmQ.objects.count() == 2
    OrmQ.objects.all().delete()
    wakeups._forked()
    wakeups.send_unless_waiting("")
    assert OrmQ.objects.count() == 1


def test_the_callers_connection_stays_open() -> None:
    connection.ensure_connection()
    before = connection.connection
    # As with the default CONN_MAX_AGE=0: whatever asks for old connections to be closed closes this one.
    connection.close_at, closes_at = 0.0, connection.close_at
    try:
        wakeups.send("")
        assert connection.connection is before
    finally:
        connection.close_at = closes_at


def test_a_process_that_ends_takes_no_wake_up_with_it() -> None:
    before = OrmQ.objects.count()
    code = (
        "from django_workflow.cluster import wakeups\n"
        "assert wakeups._throttle.admits('')\n"  # somebody sent one just now …
        "wakeups.send('')\n"  # … so this one is held back, and the process is over
    )
    python(code, environment())
    assert OrmQ.objects.count() == before + 1


def test_a_fork_does_not_wait_for_its_parents_window() -> None:
    code = (
        "import os\n"
        "from django_workflow.cluster import wakeups\n"
        "print(wakeups._throttle.admits(''), wakeups._throttle.admits(''), flush=True)\n"
        "child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
        "else: print(wakeups._throttle.admits(''), flush=True); os._exit(0)\n"
    )
    assert python(code, environment()).split() == ["True", "False", "True"]


def test_a_broker_that_does_not_answer_is_logged_now_and_then_and_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(Conf, "ORM", None)
        address = {
            "host": "127.0.0.1",
            "port": unused.getsockname()[1],
            "retry": Retry(NoBackoff(), retries=0),
        }
        monkeypatch.setattr(Conf, "REDIS", address)
        with caplog.at_level(logging.WARNING, "django_workflow.cluster"):
            with transaction.atomic():
                run = marks.start("a")
            # Who sends now doesn't even wait for the broker's own attempts to connect.
            assert not wakeups._throttle.admits("")
            wakeups.send("reports")
            wakeups.send_unless_waiting("")
            assert not wakeups._throttle._held_back
            # After a while it is tried again, and not logged again so soon.
            wakeups._throttle._broken_until = 0.0
            wakeups.send_unless_waiting("")
    assert workflow.get(run).state == "in_progress"
    (record,) = caplog.records
    assert "A wake-up for the cluster 'tests' could not be sent: ConnectionError" in record.getMessage()


# ── Q_CLUSTER["sync"] ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conf, "SYNC", True)


@pytest.mark.usefixtures("sync")
def test_with_sync_a_workflow_runs_in_the_call_that_starts_it() -> None:
    run = marks.start("a")
    assert isinstance(workflow.status(run), Completed)
    assert Entry.objects.count() == 2
    assert not OrmQ.objects.exists()
    assert not Task.objects.exists()


@pytest.mark.usefixtures("sync")
def test_with_sync_a_workflow_of_a_transaction_runs_after_it() -> None:
    with transaction.atomic():
        run = marks.start("a")
        assert not Entry.objects.exists()
    assert isinstance(workflow.status(run), Completed)


@pytest.mark.usefixtures("sync")
def test_with_sync_a_workflow_that_starts_others_ends_and_so_do_they() -> None:
    run = hands_on.start("a", 20)
    assert isinstance(workflow.status(run), Completed)
    assert Entry.objects.filter(label__startswith="a").count() == 20
    assert workflow.list(state="in_progress").count() == 0


@pytest.mark.usefixtures("sync")
def test_with_sync_no_ticker_begins_in_the_callers_process() -> None:
    marks.start("a")
    naps.start("b", seconds=0.05)
    assert not lifecycle.in_worker()
    assert not lifecycle.stopping()


# ── what is answered ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cluster", [5, None, b"tests", ["tests"], "x" * 101])
def test_a_message_that_nobody_sent_does_nothing(cluster: object) -> None:
    run = marks.start("a")
    tasks.drain(cluster)
    tasks.drain(cluster, "more", 3)
    assert workflow.get(run).started_at is None


def test_a_wake_up_is_answered_by_working_off_what_is_due_in_its_cluster() -> None:
    run, others = marks.start("a"), marks.start("b")
    tasks.drain("reports")
    assert workflow.get(run).started_at is None
    tasks.drain("")
    assert isinstance(workflow.status(run), Completed)
    assert isinstance(workflow.status(others), Completed)


def test_an_error_of_the_engine_does_not_reach_django_q2(caplog: pytest.LogCaptureFixture) -> None:
    marks.start("a")
    with override_settings(DJANGO_WORKFLOW={"NO_SUCH_KEY": 1}):
        tasks.drain("")
    assert "A drain of the cluster '' ended early" in caplog.text
