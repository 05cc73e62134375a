"""With DEBUG Django formats every statement for its log: our SQL has to survive that."""

from django.test import override_settings

from django_workflow import Completed
from django_workflow.journal import due
from django_workflow.testing import Harness
from tests.shop.workflows import parallel, steps_of_all_kinds


@override_settings(DEBUG=True)
def test_workflows_run_with_debug(workflow_harness: Harness) -> None:
    assert workflow_harness.run(steps_of_all_kinds, "pear") == Completed([0, 1, 2, 2])
    assert workflow_harness.run(parallel, [1, 2]) == Completed([2, 4])
    assert due.oldest_due_age() is None
