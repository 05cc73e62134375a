"""Django signals for what becomes of workflows; sent when the transaction in which it happened has committed.

Each is sent with `sender` = the `Workflow` class, `workflow_id` (UUID) and `definition` (the name). A receiver that
raises changes nothing: its error is logged by `django.dispatch`. Nothing may depend on a signal being received: the
process may die right after the commit. What has to happen exactly once belongs into `on_complete`.
"""

from django.dispatch import Signal

workflow_started = Signal()  # it was started, as a root or as a child
workflow_completed = Signal()
workflow_failed = Signal()  # also: error (ErrorInfo)
workflow_canceled = Signal()  # also: reason (str)
step_failed = Signal()  # for good; also: number (int), name (str), error (ErrorInfo)
