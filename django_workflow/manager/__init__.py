"""The front door's hinge: every verb, once. Admin, HTTP and commands call what application code calls.

The verbs stand by what they are for: `pool` (define), `starting`, `asking`, `ending`, `going_on`, `event_links`,
`rehearsing`, `operating`; `twins` has them all again for async code.
"""

from __future__ import annotations

from django_workflow.manager.event_links import EventLink
from django_workflow.manager.identity import Id, identify
from django_workflow.manager.twins import Twins

__all__ = ["EventLink", "Id", "WorkflowManager", "identify", "workflow"]


class WorkflowManager(Twins):
    """A pool of workflows: its definitions, and every verb.

    Args:
        name: of the pool, for people.
        cluster: the django-q2 cluster on which its workflows run; None: the setting `CLUSTER`, and without
            one django-q2's default.
        max_parallelism: how many bodies of its steps run at once, over all hosts; 0 holds it; None: as many as
            there are workers.
        retry: what `retry=True` means in this pool; None: the setting `RETRY`.
        retry_actions: whether actions that say nothing of it are retried; None: the setting `RETRY_ACTIONS`.

    """


workflow = WorkflowManager("default")
