"""`Harness()` in the test cases of Django and of REST framework, without pytest's fixtures."""

import gc
import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.test import TestCase, TransactionTestCase, override_settings
from rest_framework.test import APITestCase, APITransactionTestCase

from django_workflow import Completed, StepContext, workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.behaviours import bodies
from tests.behaviours.bodies import CardDeclined, act, double, rows, write
from tests.behaviours.code import deploy, deployed, nothing
from tests.behaviours.conftest import NOON
from tests.shop.models import Entry
from tests.shop.workflows import echo

DAY = timedelta(days=1)


async def order(step: StepContext, label: str) -> int:
    await step.run_mutation(write, label)
    doubled = await step.run_action(double, 4)
    await step.sleep(30 * DAY)
    await step.run_mutation(write, label)
    return doubled


class Story:
    """What a user's test does, in whatever test case."""

    def setUp(self) -> None:
        bodies.calls.clear()
        deploy(order)
        self.harness = Harness()
        self.addCleanup(self.harness.close)  # type: ignore[attr-defined]
        self.addCleanup(deploy, nothing)  # type: ignore[attr-defined]

    def test_a_workflow_runs_to_its_end(self) -> None:
        run = deployed.start("case")
        assert self.harness.drain() > 0
        assert rows("case") == 1
        self.harness.advance(30 * DAY)
        assert self.harness.result(run) == 8
        assert rows("case") == 2
        self.harness.assert_replays(run)

    def test_run_jumps_from_timer_to_timer(self) -> None:
        self.harness.freeze(NOON)
        assert self.harness.run(deployed, "jump") == Completed(8)
        assert self.harness.now() == NOON + 30 * DAY

    def test_a_stand_in_runs_in_place_of_a_step_function(self) -> None:
        with self.harness.replace(double, with_=lambda value: value + 100):
            assert self.harness.run(deployed, "replaced") == Completed(104)
        assert self.harness.run(deployed, "real") == Completed(8)

    def test_a_stand_in_may_raise(self) -> None:
        def refuse(value: int) -> int:
            raise CardDeclined(str(value))

        self.harness.replace(double, with_=refuse)
        status = self.harness.run(deployed, "refused")
        assert status.type == "failed"
        assert rows("refused") == 1

    def test_nothing_is_left_of_another_test(self) -> None:
        assert workflow.list().count() == 0
        assert Entry.objects.count() == 0
        assert double(1) == 2


class InTestCase(Story, TestCase):
    pass


class InTransactionTestCase(Story, TransactionTestCase):
    def test_a_crash_is_recovered_from(self) -> None:
        run = deployed.start("crash")
        self.harness.crash_at(2)
        with pytest.raises(SimulatedCrash):
            self.harness.drain()
        self.harness.advance(timedelta(seconds=31))
        self.harness.advance(30 * DAY)
        assert self.harness.result(run) == 8
        assert rows("crash") == 2

    def test_20_a_long_step_keeps_its_lease(self) -> None:
        done_by_another: list[int] = []

        def drain_elsewhere() -> None:
            try:
                done_by_another.append(self.harness.drain())
            finally:
                connections.close_all()

        def await_a_renewal(value: int) -> int:
            leased_until = workflow.get(run).due_at
            while workflow.get(run).due_at == leased_until:
                threading.Event().wait(0.05)
            worker = threading.Thread(target=drain_elsewhere)
            worker.start()
            worker.join()
            return value

        with override_settings(DJANGO_WORKFLOW={"LEASE_SECONDS": 3}):
            run = deployed.start("long")
            with self.harness.replace(double, with_=await_a_renewal):
                self.harness.drain()
        assert done_by_another == [0]
        assert workflow.steps(run).filter(kind="action").get().state == "completed"


class InAPITestCase(Story, APITestCase):
    pass


class InAPITransactionTestCase(Story, APITransactionTestCase):
    pass


class WithTestData(TestCase):
    """Rows of `setUpTestData` are seen, and every test gets them as they were."""

    run_of_all: Workflow

    @classmethod
    def setUpTestData(cls) -> None:
        Entry.objects.create(label="data")
        cls.run_of_all = echo.start("from setUpTestData")

    def test_once(self) -> None:
        with Harness() as harness:
            harness.drain()
            assert harness.result(self.run_of_all) == "from setUpTestData"

    def test_again(self) -> None:
        assert workflow.get(self.run_of_all).state == "in_progress"
        with Harness() as harness:
            assert harness.run(echo, rows("data")) == Completed(1)

    def test_two_harnesses_after_each_other(self) -> None:
        for number in range(2):
            with Harness() as harness:
                harness.replace(act, with_=lambda value: "stand-in")
                assert harness.run(echo, number) == Completed(number)
        assert act("real") == "real"

    def test_one_that_nobody_closed_doesnt_disturb_the_next(self) -> None:
        forgotten = Harness()
        forgotten.freeze(NOON)
        forgotten.replace(act, with_=lambda value: "stand-in")
        deploy(order)
        with Harness() as harness:
            del forgotten
            gc.collect()
            harness.freeze(NOON + 10 * DAY)
            assert harness.run(deployed, "next") == Completed(8)
            assert harness.now() == NOON + 40 * DAY
        assert act("real") == "real"
        assert workflow.get(echo.start(1)).created_at != NOON

    def test_one_that_is_forgotten_puts_the_clock_back(self) -> None:
        Harness().freeze(NOON)
        gc.collect()
        assert workflow.get(echo.start(1)).created_at != NOON

    def test_the_clock_is_put_back(self) -> None:
        with Harness() as harness:
            harness.freeze(NOON)
            frozen = echo.start(1)
            assert workflow.get(frozen).created_at == NOON
        assert workflow.get(echo.start(1)).created_at != NOON
