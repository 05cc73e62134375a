"""Behaviour 41: `patched` and `deprecate_patch` over a series of deploys, for workflows of every age."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from django_workflow import Completed, Failed, InProgress, StepContext, workflow
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours import lives
from tests.behaviours.bodies import calls, look
from tests.behaviours.code import Handler, deploy, deployed
from tests.behaviours.lives import book, charge, faults, row, ship

HOUR = timedelta(hours=1)

pytestmark = pytest.mark.usefixtures("any_mode")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    lives.forget()
    yield
    lives.forget()


def markers(run: Workflow) -> list[str]:
    return list(
        Step.objects.filter(workflow_id=run.id, kind="marker")
        .order_by("number")
        .values_list("name", flat=True)
    )


# ── one change, four deploys ────────────────────────────────────────────────────────────────────────────────


async def original(step: StepContext) -> str:
    await step.sleep(HOUR)
    await step.run_mutation(book, "a")
    await step.sleep(HOUR)
    got = await step.run_action(ship, "old")
    await step.sleep(HOUR)
    return got


async def with_patch(step: StepContext) -> str:
    await step.sleep(HOUR)
    await step.run_mutation(book, "a")
    if step.patched("charge first"):
        await step.run_action(charge, "c")
    await step.sleep(HOUR)
    got = await step.run_action(ship, "new" if step.patched("charge first") else "old")
    await step.sleep(HOUR)
    return got


async def with_deprecated_patch(step: StepContext) -> str:
    await step.sleep(HOUR)
    await step.run_mutation(book, "a")
    step.deprecate_patch("charge first")
    await step.run_action(charge, "c")
    await step.sleep(HOUR)
    got = await step.run_action(ship, "new")
    await step.sleep(HOUR)
    return got


async def without_patch(step: StepContext) -> str:
    await step.sleep(HOUR)
    await step.run_mutation(book, "a")
    await step.run_action(charge, "c")
    await step.sleep(HOUR)
    got = await step.run_action(ship, "new")
    await step.sleep(HOUR)
    return got


def test_41_new_workflows_take_the_new_path_and_old_ones_the_old_path(frozen: Harness) -> None:
    deploy(original)
    passed, fresh = deployed.start(), deployed.using(run_after=4 * HOUR).start()
    frozen.drain()
    frozen.advance(HOUR)
    waiting = deployed.start()
    frozen.drain()
    deploy(with_patch)
    later = deployed.start()
    for _ in range(8):
        frozen.advance(HOUR)
    assert frozen.result(passed) == "shipped old"  # it had come past the place with the old code
    assert [frozen.result(run) for run in (waiting, fresh, later)] == ["shipped new"] * 3
    assert [markers(run) for run in (passed, waiting, fresh, later)] == [[], *[["charge first"]] * 3]
    assert [name for _, name, _ in lives.states(passed)] == ["sleep", "book", "sleep", "ship", "sleep"]
    for run in (passed, waiting, fresh, later):
        frozen.assert_replays(run)


@pytest.mark.slow
def test_41_workflows_of_every_age_end_well_over_all_deploys(frozen: Harness) -> None:
    """A workflow starts every half an hour; the patch is deployed, deprecated when no old one is left, and removed."""
    deploys: dict[int, Handler] = {0: original, 4: with_patch, 12: with_deprecated_patch, 20: without_patch}
    runs: list[Workflow] = []
    for hour in range(24):
        if hour in deploys:
            deploy(deploys[hour])
        runs.append(deployed.start())
        frozen.drain()
        frozen.advance(HOUR / 2)
        runs.append(deployed.start())
        frozen.drain()
        frozen.advance(HOUR / 2)
    for _ in range(4):
        frozen.advance(HOUR)
    ends = [workflow.status(run) for run in runs]
    assert all(isinstance(end, Completed) for end in ends), ends
    old = [index for index, end in enumerate(ends) if end == Completed("shipped old")]
    marked = [index for index, run in enumerate(runs) if markers(run)]
    assert (old[0], marked[0]) == (0, len(old))  # first those of the old path, then those with a marker
    assert old == list(range(len(old)))
    assert marked == list(range(marked[0], marked[-1] + 1))
    assert 0 < len(old) < 10 < marked[-1] < 30
    assert Step.objects.filter(name="charge", state="completed").count() == len(runs) - len(old)
    assert [call for call in calls if call[0] == "charge"] == [("charge", "c")] * (len(runs) - len(old))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (with_patch, with_deprecated_patch),
        (with_patch, without_patch),
        (with_deprecated_patch, without_patch),
    ],
    ids=lambda handler: handler.__name__,
)
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_41_a_deploy_at_any_hour_of_a_patched_workflow(
    frozen: Harness, first: Handler, second: Handler, after: int
) -> None:
    deploy(first)
    run = deployed.start()
    frozen.drain()
    for _ in range(after):
        frozen.advance(HOUR)
    deploy(second)
    for _ in range(4):
        frozen.advance(HOUR)
    assert frozen.result(run) == "shipped new"
    assert calls == [("book", "a"), ("charge", "c"), ("ship", "new")]
    frozen.assert_replays(run)


def test_41_removed_too_early_is_a_violation_for_who_is_on_the_old_path(frozen: Harness) -> None:
    deploy(original)
    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    deploy(without_patch)
    frozen.advance(HOUR)
    status = row(run).status()
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.DeterminismViolation"


# ── many patches ────────────────────────────────────────────────────────────────────────────────────────────


def chain(*changes: tuple[str, str]) -> Handler:
    """A handler of three steps with patches in a row before the second one."""

    async def handler(step: StepContext) -> list[Any]:
        got: list[Any] = [await step.run_action(ship, "first")]
        for call, name in changes:
            if call == "patched":
                got.append((name, step.patched(name)))
            else:
                step.deprecate_patch(name)
        await step.sleep(HOUR)
        return [*got, await step.run_action(ship, "last")]

    return handler


def test_41_several_patches_in_a_row(frozen: Harness) -> None:
    deploys = [
        chain(),
        chain(("patched", "a")),
        chain(("patched", "a"), ("patched", "b")),
        chain(("deprecate", "a"), ("patched", "b"), ("patched", "c")),
        chain(("patched", "b"), ("deprecate", "c")),
        chain(("deprecate", "b")),
        chain(),
    ]
    runs = []
    for handler in deploys:
        deploy(handler)
        runs.append(deployed.start())
        frozen.drain()
    assert [markers(run) for run in runs] == [[], ["a"], ["a", "b"], ["b", "c"], ["b"], [], []]
    frozen.advance(HOUR)  # each goes on with code that knows no patch any more
    assert [frozen.result(run) for run in runs] == [["shipped first", "shipped last"]] * len(runs)
    for run in runs:
        frozen.assert_replays(run)


def test_41_patches_in_a_loop_decide_once(frozen: Harness) -> None:
    patched = False

    @deploy
    async def handler(step: StepContext) -> list[Any]:
        got = []
        for number in range(4):
            new = patched and step.patched("p")
            got.append(
                await (step.run_action(charge, f"{number}") if new else step.run_action(ship, f"{number}"))
            )
            await step.sleep(HOUR)
        return got

    old = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    patched = True
    new = deployed.start()
    for _ in range(5):
        frozen.advance(HOUR)
    assert frozen.result(old) == [f"shipped {number}" for number in range(4)]
    assert frozen.result(new) == [f"charged {number}" for number in range(4)]
    assert (markers(old), markers(new)) == ([], ["p"])
    for run in (old, new):
        frozen.assert_replays(run)


def test_41_patches_in_parallel_branches(frozen: Harness) -> None:
    patched = False

    async def branch(step: StepContext, hours: int) -> Any:
        await step.sleep(hours * HOUR)
        new = patched and step.patched(f"branch {hours}")
        await step.run_mutation(book, f"{'new' if new else 'old'} {hours}")
        return new

    @deploy
    async def handler(step: StepContext) -> list[Any]:
        return await asyncio.gather(*(branch(step, hours) for hours in (1, 3, 2, 4)))

    runs = [deployed.start()]
    frozen.drain()
    frozen.advance(2 * HOUR)
    patched = True
    runs.append(deployed.start())
    frozen.drain()
    for _ in range(4):
        frozen.advance(HOUR)
    # A branch that had come past its patch is on the old path, one that comes to it later on the new one.
    assert [frozen.result(run) for run in runs] == [[False, True, False, True], [True] * 4]
    assert [sorted(markers(run)) for run in runs] == [
        ["branch 3", "branch 4"],
        ["branch 1", "branch 2", "branch 3", "branch 4"],
    ]
    for run in runs:
        frozen.assert_replays(run)


def test_41_a_patch_around_a_wait_a_child_and_a_race(frozen: Harness) -> None:
    patched = False

    @deploy
    async def handler(step: StepContext) -> Any:
        if patched and step.patched("race"):
            index, _ = await step.first_completed(step.wait_for_event("go"), step.sleep(HOUR))
            return ["raced", index, await step.run_workflow(lives.grandchild, "new")]
        return ["waited", await step.wait_for_event("go")]

    old = deployed.start()
    frozen.drain()
    patched = True
    new = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    assert frozen.result(new) == ["raced", 1, "shipped new of the grandchild"]
    workflow.send_event(old, "go", 7)
    frozen.drain()
    assert frozen.result(old) == ["waited", 7]
    for run in (old, new):
        frozen.assert_replays(run)


# ── further lives ───────────────────────────────────────────────────────────────────────────────────────────


def test_41_restart_keeps_a_marker_below_the_point_and_decides_anew_above_it(frozen: Harness) -> None:
    deploy(original)
    runs = [deployed.start() for _ in range(3)]
    frozen.drain()
    faults.add("old")
    for _ in range(2):
        frozen.advance(HOUR)
    assert {row(run).state for run in runs} == {"failed"}
    faults.clear()
    deploy(with_patch)
    workflow.restart(runs[0], from_failure=True)  # behind the patch: it stays on the old path
    workflow.restart(runs[1], 3)  # at the patch: it comes there for the first time
    workflow.restart(runs[2], 1)
    for _ in range(4):
        frozen.advance(HOUR)
    assert [frozen.result(run) for run in runs] == ["shipped old", "shipped new", "shipped new"]
    assert [markers(run) for run in runs] == [[], ["charge first"], ["charge first"]]
    forks = [workflow.fork(runs[1], "ship"), workflow.fork(runs[1], "charge"), workflow.fork(runs[1], "book")]
    assert [markers(fork) for fork in forks] == [["charge first"], ["charge first"], []]
    for _ in range(4):
        frozen.advance(HOUR)
    assert [frozen.result(fork) for fork in forks] == ["shipped new"] * 3
    for run in (*runs, *forks):
        frozen.assert_replays(run)


def test_41_a_hole_that_a_restart_left_is_no_new_place(frozen: Harness) -> None:
    """The loser of a race has no row after a restart; the patch before it was passed all the same."""

    async def body(step: StepContext, new: Callable[[], bool]) -> Any:
        await step.run_mutation(book, "a")
        path = "new" if new() else "old"
        await step.first_completed(step.sleep(HOUR), step.run_mutation(book, path))
        return await step.run_action(charge, path)

    @deploy
    async def before(step: StepContext) -> Any:
        return await body(step, lambda: False)

    faults.add("old")
    run = deployed.start()
    frozen.drain()
    assert isinstance(row(run).status(), Failed)
    faults.clear()

    @deploy
    async def after(step: StepContext) -> Any:
        return await body(step, lambda: step.patched("p"))

    workflow.restart(run)
    frozen.drain()
    status = row(run).status()
    assert isinstance(status, Failed)
    assert status.error.type == "tests.behaviours.bodies.CardDeclined"
    assert markers(run) == []


def test_41_a_workflow_that_goes_on_as_new_takes_the_new_path_in_its_next_life(frozen: Harness) -> None:
    patched = False

    @deploy
    async def handler(step: StepContext, paths: list[str]) -> Any:
        await step.run_query(look, 1)
        new = patched and step.patched("p")
        await step.sleep(HOUR)
        paths = [*paths, "new" if new else "old"]
        if len(paths) < 3:
            step.continue_as_new(paths)
        return paths

    run = deployed.start([])
    frozen.drain()
    patched = True
    for _ in range(3):
        frozen.advance(HOUR)
    assert frozen.result(run) == ["old", "new", "new"]
    assert markers(run) == ["p"]
    frozen.assert_replays(run)


def test_41_markers_are_shown_as_steps_that_have_completed(frozen: Harness) -> None:
    deploy(with_patch)
    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    (marker,) = Step.objects.filter(workflow_id=run.id, kind="marker")
    assert (marker.state, marker.name, marker.attempts, marker.seq) == ("completed", "charge first", 0, None)
    assert marker.completed_at == frozen.now()
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert [step.kind for step in status.running] == ["sleep"]
