"""Who gets into whose way: each scenario sets a stage, says who does what at once, and what must come of it.

Rules of this file: a scenario is a generator. It yields the jobs, each for a member of the crew, gets back how they
ended, and then checks what has to hold in whatever order things happened.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping

from django_workflow.engine.drain import take_one
from django_workflow.exceptions import KeyConflict, WorkflowFinished, WorkflowInProgress, WorkflowNotFound
from django_workflow.manager import workflow
from django_workflow.models import Event, Step, Workflow
from tests.interleaving import stage as s
from tests.interleaving.crew import Ended, Job, unwatched
from tests.interleaving.stage import PAST_A_LEASE, Stage, result, state

Scenario = Callable[[Stage], Generator[Mapping[str, Job], Mapping[str, Ended], None]]
Play = Generator[Mapping[str, Job], Mapping[str, Ended], None]

SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def _all_well(ended: Mapping[str, Ended]) -> None:
    for each in ended.values():
        each.get()


# ── wake-ups and leases ─────────────────────────────────────────────────────────────────────────────────────


@scenario
def duplicate_wake_ups(stage: Stage) -> Play:
    """P9, P12: three workers are woken for two workflows."""
    runs = [s.in_a_row.start(stage.tag), s.fan.start(other := f"{stage.tag} too")]
    _all_well((yield {"one": stage.drain, "two": stage.drain, "three": stage.drain}))
    stage.finish()
    stage.check(*runs)
    assert [result(run) for run in runs] == [["a", "b", "c", "d"], ["b", "c", "d", "e", "f"]]
    assert [stage.rows("the end"), stage.rows("the end", other)] == [1, 1]


@scenario
def a_stale_lease(stage: Stage) -> Play:
    """P3, P9, P11: a worker is held up past its lease, wherever it is; another takes over, and the first goes on."""
    run, beside = s.in_a_row.start(stage.tag), s.in_a_row.start(f"{stage.tag} beside")
    _all_well((yield {"one": stage.drain, "two": stage.drain, "time": stage.time(*3 * [PAST_A_LEASE])}))
    stage.finish()
    stage.check(run, beside)
    assert result(run) == result(beside) == ["a", "b", "c", "d"]
    assert stage.rows("the end") == 1


@scenario
def a_stale_lease_of_a_step(stage: Stage) -> Play:
    """The same, for steps that are claimed by themselves."""
    run = s.fan.start(stage.tag)
    _all_well((yield {"one": stage.drain, "two": stage.drain, "time": stage.time(*3 * [PAST_A_LEASE])}))
    stage.finish()
    stage.check(run)
    assert result(run) == ["b", "c", "d", "e", "f"]
    assert stage.rows("the end") == 1


@scenario
def a_heartbeat_against_a_take_over(stage: Stage) -> Play:
    """R6: leases are renewed, or run out, just when somebody looks."""
    run = s.in_a_row.start(stage.tag)
    _all_well(
        (
            yield {
                "one": stage.drain,
                "two": stage.drain,
                "heart": stage.beats(4),
                "time": stage.time(*3 * [PAST_A_LEASE]),
            }
        )
    )
    stage.finish()
    stage.check(run)
    assert result(run) == ["a", "b", "c", "d"]
    assert stage.rows("the end") == 1


@scenario
def parallel_steps_against_the_end_of_the_turn(stage: Stage) -> Play:
    """R8, R9: others settle steps while the turn that asked for them, or the next one, ends."""
    run = s.fan.start(stage.tag)
    _all_well((yield {"one": stage.drain, "two": stage.drain, "three": stage.drain, "four": stage.drain}))
    stage.finish()
    stage.check(run)
    assert result(run) == ["b", "c", "d", "e", "f"]
    assert Step.objects.filter(workflow=run).exclude(attempts=1).count() == 0


@scenario
def a_pool_of_one(stage: Stage) -> Play:
    """R23: two workflows, three workers, and one body at a time."""
    tags = [f"{stage.tag} {number}" for number in range(2)]
    runs = [s.pooled.start(tag) for tag in tags]
    _all_well((yield {"one": stage.drain, "two": stage.drain, "three": stage.drain}))
    stage.finish()
    stage.check(*runs)
    assert [result(run) for run in runs] == [["b", "c"]] * 2
    assert [stage.rows("the end", tag) for tag in tags] == [1, 1]


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────


@scenario
def events_against_the_end_of_the_turn(stage: Stage) -> Play:
    """P5, R9: an event arrives before, in and after the turn that goes to sleep for want of it."""
    run = s.two_events.start(stage.tag)

    def send() -> None:
        for value in (1, 2):
            workflow.send_event(run.id, "go", value)

    _all_well((yield {"one": stage.drain, "two": stage.drain, "sender": send}))
    stage.finish()
    stage.check(run)
    assert result(run) == [1, 2]
    assert stage.rows("the end") == 1


@scenario
def one_key_sent_twice(stage: Stage) -> Play:
    """P5, R20: two senders of the same, and one of something else."""
    run = s.two_events.start(stage.tag)

    def send(value: str, key: str) -> Job:
        return lambda: workflow.send_event(run.id, "go", value, key=key).pk

    ended = yield {
        "worker": stage.drain,
        "one": send("same", "k"),
        "two": send("same", "k"),
        "three": send("other", "l"),
    }
    _all_well(ended)
    stage.finish()
    stage.check(run)
    assert sorted(result(run)) == ["other", "same"]
    assert Event.objects.filter(workflow=run).count() == 2
    assert ended["one"].get() == ended["two"].get()


@scenario
def an_event_against_its_deadline(stage: Stage) -> Play:
    """P5, R16: an event that was sent in time is for the wait, however late the turn."""
    run = s.patient.start(stage.tag)

    def send() -> None:
        workflow.send_event(run.id, "go", "came")

    ended = yield {"one": stage.drain, "two": stage.drain, "sender": send, "time": stage.time(10, 11)}
    refused = ended["sender"].error
    assert refused is None or isinstance(refused, WorkflowFinished)
    _all_well({name: each for name, each in ended.items() if name != "sender"})
    stage.finish()
    stage.check(run)
    assert stage.rows("after") == stage.rows("the end") == 1
    wait = Step.objects.get(workflow=run, kind="event")
    moments = list(Event.objects.filter(workflow=run).values_list("sent_at", flat=True))
    assert wait.completed_at is not None
    if result(run) == "none":
        # It has completed when it was due, which counts from the claim of the turn that asked for it.
        assert all(moment > wait.completed_at for moment in moments), f"{moments}, due at {wait.completed_at}"
    else:
        (sent_at,) = moments
        assert (result(run), sent_at <= wait.created_at + s.later(20)) == ("came", True)


@scenario
def going_on_as_new_against_events(stage: Stage) -> Play:
    """R30: events that come while the workflow changes its journal are for its next life."""
    run = s.renewed.start(stage.tag, [])

    def send() -> None:
        for value in (1, 2, 3):
            workflow.send_event(run.id, "go", value)

    _all_well((yield {"one": stage.drain, "two": stage.drain, "sender": send}))
    stage.finish()
    assert result(run) == [1, 2, 3]
    assert [stage.rows(f"life {life}") for life in (1, 2, 3)] == [1, 1, 1]
    assert stage.rows("the end") == 1
    assert not stage.crew.deadlocks, stage.crew.deadlocks


# ── starts, ends and further lives ──────────────────────────────────────────────────────────────────────────


@scenario
def two_starts_with_one_key(stage: Stage) -> Play:
    """One of them starts it, the other gets it, and a third with other arguments is refused."""

    def start(tag: str) -> Job:
        return lambda: s.in_a_row.using(key=stage.tag).start(tag).id

    ended = yield {
        "one": start(stage.tag),
        "two": start(stage.tag),
        "other": start(f"{stage.tag} other"),
        "worker": stage.drain,
    }
    stage.finish()
    (run,) = Workflow.objects.filter(key=stage.tag)
    stage.check(run)
    won = {name for name in ("one", "two", "other") if ended[name].error is None}
    assert {ended[name].get() for name in won} == {run.id}
    assert won in ({"one", "two"}, {"other"})
    for name in {"one", "two", "other"} - won:
        assert isinstance(ended[name].error, KeyConflict), ended[name]
    assert stage.rows("the end", run.args["tag"]) == 1


@scenario
def a_cancel_against_a_turn(stage: Stage) -> Play:
    """P7, P8: it is canceled or it has finished, and what comes after the cancel comes to nothing."""
    run = s.in_a_row.start(stage.tag)
    at_cancel: list[int] = []

    def cancel() -> bool:
        done = workflow.cancel(run.id)
        with unwatched():
            at_cancel.append(stage.rows("a") + stage.rows("c"))
        return done

    ended = yield {"one": stage.drain, "two": stage.drain, "cancel": cancel}
    _all_well(ended)
    stage.finish()
    stage.check(run)
    assert state(run) == ("canceled" if ended["cancel"].get() else "completed")
    assert stage.rows("a") + stage.rows("c") == at_cancel[0], "P8: a mutation has committed after the cancel"
    assert stage.rows("the end") == 1


@scenario
def a_cancel_against_parallel_steps(stage: Stage) -> Play:
    """P8, R2: steps with leases of their own settle just when their workflow is canceled, twice."""
    run = s.fan.start(stage.tag)

    def cancel() -> bool:
        return workflow.cancel(run.id)

    ended = yield {"one": stage.drain, "two": stage.drain, "cancel": cancel, "cancel too": cancel}
    _all_well(ended)
    stage.finish()
    stage.check(run)
    canceled = ended["cancel"].get() + ended["cancel too"].get()
    assert canceled == (state(run) == "canceled")
    assert stage.rows("the end") == 1


@scenario
def a_cancel_with_rollbacks(stage: Stage) -> Play:
    """R29: what had settled is undone, once, and nothing else."""
    run = s.saga.start(stage.tag)
    ended = yield {
        "one": stage.drain,
        "two": stage.drain,
        "cancel": lambda: workflow.cancel(run.id, rollback=True),
    }
    _all_well(ended)
    stage.finish()
    assert ended["cancel"].get() is True
    assert state(run) == "canceled"
    done = set(
        Step.objects.filter(workflow=run, state="completed", kind__in=("mutation", "action")).values_list(
            "name", flat=True
        )
    )
    assert stage.rows("reserve") == stage.rows("undo reserve") == ("write" in done)
    assert s.ran.count(f"{stage.tag}/undo book") == ("act" in done)
    assert stage.rows("the end") == 1
    assert not stage.crew.deadlocks, stage.crew.deadlocks


@scenario
def two_restarts(stage: Stage) -> Play:
    """P7: as many lives as restarts that were granted, and as many endings."""
    run = s.failing.start(stage.tag)
    stage.drain()
    before = s.ran.count(f"{stage.tag}/bad")

    def restart() -> bool:
        try:
            workflow.restart(run.id, from_failure=True)
        except WorkflowInProgress:
            return False
        return True

    ended = yield {"one": restart, "two": restart, "worker": stage.drain, "another": stage.drain}
    _all_well(ended)
    stage.finish()
    granted = ended["one"].get() + ended["two"].get()
    assert granted >= 1
    assert state(run) == "failed"
    assert stage.rows("the end") == 1 + granted
    assert s.ran.count(f"{stage.tag}/bad") == before + granted
    assert stage.rows("a") == 1, "P3: what the restart kept ran again"
    s.ran[:] = [each for each in s.ran if each != f"{stage.tag}/bad"] + [f"{stage.tag}/bad"]
    stage.check(run)


@scenario
def a_cancel_against_a_restart(stage: Stage) -> Play:
    """P7, P8: the cancel comes too early or it hits the new life, which then ends as canceled."""
    run = s.failing.start(stage.tag)
    stage.drain()
    ended = yield {
        "restart": lambda: workflow.restart(run.id, from_step=1),
        "cancel": lambda: workflow.cancel(run.id),
        "worker": stage.drain,
        "another": stage.drain,
    }
    _all_well(ended)
    stage.finish()
    assert state(run) == ("canceled" if ended["cancel"].get() else "failed")
    assert stage.rows("the end") == 2
    bodies = s.ran.count(f"{stage.tag}/bad")
    assert bodies <= 2
    s.ran[:] = [each for each in s.ran if each != f"{stage.tag}/bad"] + [f"{stage.tag}/bad"]
    # Of a mutation that the first life has committed and the second repeats there is one row for each.
    kept = Step.objects.filter(workflow=run, kind="mutation", state="completed").count()
    assert stage.rows("a") == 1 + kept


@scenario
def a_cleanup_against_an_event(stage: Stage) -> Play:
    """P13, R20: it is there with all that is its own, or gone with it."""
    run = s.two_events.start(stage.tag)
    stage.drain()

    def cleanup() -> bool:
        try:
            workflow.cancel(run.id)
        except WorkflowNotFound:
            return False
        return workflow.cleanup(run.id)

    def send() -> str:
        try:
            workflow.send_event(run.id, "go", 1)
        except (WorkflowFinished, WorkflowNotFound) as refused:
            return type(refused).__name__
        return "sent"

    ended = yield {"cleanup": cleanup, "cleanup too": cleanup, "sender": send, "worker": stage.drain}
    _all_well(ended)
    stage.finish()
    assert ended["cleanup"].get() + ended["cleanup too"].get() == 1
    assert not Workflow.objects.filter(id=run.id).exists()
    assert not Event.objects.filter(workflow_id=run.id).exists()
    assert not Step.objects.filter(workflow_id=run.id).exists()
    assert not stage.crew.deadlocks, stage.crew.deadlocks


@scenario
def a_childs_end_against_its_parents_cancel(stage: Stage) -> Play:
    """R18, R20: the child ends while its parent is canceled: from below and from above at once."""
    run = s.parent.start(stage.tag)
    ended = yield {
        "one": stage.drain,
        "two": stage.drain,
        "cancel": lambda: workflow.cancel(run.id),
    }
    _all_well(ended)
    stage.finish()
    stage.check(run)
    assert state(run) == ("canceled" if ended["cancel"].get() else "completed")
    children = Workflow.objects.filter(parent=run)
    assert [stage.rows("the end", f"{stage.tag} child")] * len(children) == [1] * len(children)
    assert stage.rows("the end") == 1


@scenario
def a_childs_end_against_a_parent_that_gives_it_up(stage: Stage) -> Play:
    """R17: the loser of a race ends just when it is given up."""
    run = s.fickle_parent.start(stage.tag)
    _all_well((yield {"one": stage.drain, "two": stage.drain, "three": stage.drain}))
    stage.finish()
    stage.check(run)
    assert result(run) in (0, 1)
    (child,) = Workflow.objects.filter(parent=run)
    if result(run) == 0:
        assert state(child) == "completed"
    assert stage.rows("the end") == stage.rows("the end", f"{stage.tag} child") == 1


@scenario
def a_cancel_of_the_child_against_its_parents_end(stage: Stage) -> Play:
    """R20: two cancels, of the parent and of the child, and a worker."""
    run = s.parent.start(stage.tag)
    take_one(run.id)
    (child,) = Workflow.objects.filter(parent=run)
    ended = yield {
        "worker": stage.drain,
        "of the child": lambda: workflow.cancel(child.id),
        "of the parent": lambda: workflow.cancel(run.id),
    }
    _all_well(ended)
    stage.finish()
    stage.check(run)
    if ended["of the child"].get():
        assert state(child) == "canceled"
    if ended["of the parent"].get():
        assert state(run) == "canceled"
    else:
        assert state(run) in ("completed", "failed")
    assert stage.rows("the end") == stage.rows("the end", f"{stage.tag} child") == 1
