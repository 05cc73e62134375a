"""R6: the heartbeat's thread keeps every lease, whatever it was doing when the lease was taken."""

from datetime import timedelta

from django.db import connection
from django.test import override_settings

from django_workflow.engine.drain import known
from django_workflow.engine.leases import heartbeat
from django_workflow.journal import claims, clock, holding, wakes
from django_workflow.models import Workflow
from tests.engine import bodies
from tests.engine.committed import committed
from tests.engine.elsewhere import PATIENCE


@committed
def test_r6_a_shorter_lease_does_not_wait_for_a_beat_of_longer_ones(transactional_db: None) -> None:
    with wakes.sent_by(None):
        run = bodies.one_action.start("x")
        with heartbeat.holding():  # the thread now waits for a third of 30 seconds
            pass
        with override_settings(DJANGO_WORKFLOW={"LEASE_SECONDS": 1}), heartbeat.holding() as held:
            (claim,) = claims.claim_workflows(held.token, None, known(), 16)
            held.claimed = True
            taken_at = clock.read(connection)
            deadline = clock.monotonic() + PATIENCE
            while clock.read(connection) < taken_at + timedelta(seconds=1.5):
                assert clock.monotonic() < deadline
            assert Workflow.objects.get(id=run.id).lease_owner == claim.token
            assert Workflow.objects.filter(id=run.id, due_at__gt=clock.Now()).exists()
            assert held.may_begin()
            holding.hand_back([claim])
