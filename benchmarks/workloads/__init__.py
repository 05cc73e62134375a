"""The workloads, by the name of their command: what is asked of each system, and which figures come of it."""

from functools import partial

from benchmarks.workloads.base import Options, Result, Row, Sizes, Workload, exponent
from benchmarks.workloads.batches import W2_NAP_SHARES, fan_out, many_workflows, one_workflow, slow_calls
from benchmarks.workloads.filled import full_tables
from benchmarks.workloads.moments import idle, idle_latency, sleepers

__all__ = ["WORKLOADS", "Options", "Result", "Row", "Workload", "exponent"]

WORKLOADS = {
    "w1": Workload(
        partial(many_workflows, kinds=("mutations", "actions")), "workflows", Sizes(200, 150, 40), usual=False
    ),
    "w1a": Workload(partial(many_workflows, kinds=("mutations",)), "workflows", Sizes(200, 200, 40)),
    "w1b": Workload(partial(many_workflows, kinds=("actions",)), "workflows", Sizes(200, 200, 40)),
    "w2": Workload(
        partial(one_workflow, kinds=("mutations", "actions")), "steps", Sizes(3000, 1000, 300), usual=False
    ),
    "w2a": Workload(partial(one_workflow, kinds=("mutations",)), "steps", Sizes(3000, 3000, 300)),
    "w2b": Workload(partial(one_workflow, kinds=("actions",)), "steps", Sizes(3000, 3000, 300)),
    "w2c": Workload(
        partial(one_workflow, kinds=("naps",), shares=W2_NAP_SHARES),
        "sleeps",
        Sizes(300, 300, 60),
        peers=False,
    ),
    "w3": Workload(idle_latency, "times", Sizes(100, 45, 12), queue=True),
    "w4": Workload(fan_out, "actions", Sizes(200, 200, 50)),
    "w5a": Workload(
        partial(sleepers, together=True), "sleepers", Sizes(5000, 1500, 200), queue=True, one_round=True
    ),
    "w5b": Workload(
        partial(sleepers, together=False), "sleepers", Sizes(5000, 1250, 200), queue=True, one_round=True
    ),
    "w6": Workload(slow_calls, "calls", Sizes(500, 500, 100)),
    "w7": Workload(full_tables, "finished workflows", Sizes(1_000_000, 1_000_000, 20_000), peers=False),
    "w8": Workload(idle, "seconds", Sizes(30, 10, 5), queue=True, one_round=True),
}
