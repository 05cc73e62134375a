"""What schedules have found, each by itself."""

from typing import Any

from django_workflow.manager import workflow
from django_workflow.testing import Harness
from tests.engine import bodies
from tests.engine.committed import committed
from tests.engine.elsewhere import elsewhere

pytestmark = committed


def test_p10_a_journal_that_a_cancel_cut_off_within_a_turn_replays(transactional_db: None) -> None:
    """The handler had asked for one step more, of which the cancel left no record."""
    with Harness() as harness:
        run = bodies.action_then_query.start("cut off")

        def look(label: str) -> Any:
            return elsewhere(lambda: workflow.cancel(run.id))

        with harness.replace(bodies.look, with_=look):
            harness.drain()
        assert workflow.status(run.id).type == "canceled"
        assert [step.name for step in harness.journal(run)] == ["act"]
        harness.assert_replays(run)
