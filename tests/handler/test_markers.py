"""`patched()` and `deprecate_patch()`: markers in the journal, and which path a workflow of which age takes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from django_workflow.exceptions import DeterminismViolation, UsageError
from django_workflow.handler.commands import Recorded
from django_workflow.handler.context import StepContext
from tests.handler.bodies import echo, other
from tests.handler.drive import Live, assert_replays, live, replayed

Handler = Callable[..., Any]


async def before(step: StepContext) -> Any:
    await step.run_query(echo, 1)
    await step.sleep(60)
    return await step.run_action(echo, "old")


async def patched(step: StepContext) -> Any:
    await step.run_query(echo, 1)
    if step.patched("p"):
        await step.run_mutation(echo, "new")
    await step.sleep(60)
    return await step.run_action(echo, "new" if step.patched("p") else "old")


async def deprecated(step: StepContext) -> Any:
    await step.run_query(echo, 1)
    step.deprecate_patch("p")
    await step.run_mutation(echo, "new")
    await step.sleep(60)
    return await step.run_action(echo, "new")


async def removed(step: StepContext) -> Any:
    await step.run_query(echo, 1)
    await step.run_mutation(echo, "new")
    await step.sleep(60)
    return await step.run_action(echo, "new")


def names(run: Live) -> list[str]:
    """What was asked for, in order; a marker by its patch."""
    return [
        command.name if command.kind == "marker" else str(command.kind) for command in run.replay.commands
    ]


def journals(handler: Handler) -> list[list[Recorded]]:
    """The journal after each step that settles, up to the end."""
    with Live(handler) as run:
        found = [run.journal()]
        while run.waiting:
            run.settle(min(run.waiting))
            found.append(run.journal())
    return found


def test_a_new_workflow_takes_the_new_path_and_records_a_marker() -> None:
    run = live(patched)
    assert run.result == "new"
    assert names(run) == ["query", "p", "mutation", "sleep", "action"]
    assert_replays(run, patched)


def test_a_marker_settles_by_itself_and_is_never_delivered() -> None:
    (marker,) = [step for step in live(patched).journal() if step.kind == "marker"]
    assert (marker.state, marker.seq, marker.args, marker.function) == ("completed", None, "{}", "")


def test_an_old_workflow_takes_the_old_path_and_records_nothing() -> None:
    for journal in journals(before)[1:]:
        if len(journal) == 1:
            continue  # it has not passed the patch yet
        with Live(patched, journal=journal) as run:
            assert run.finish().result == "old"
            assert names(run) == ["query", "sleep", "action"]


def test_an_old_workflow_that_has_not_come_to_the_patch_takes_the_new_path() -> None:
    first = journals(before)[0]
    with Live(patched, journal=first) as run:
        run.settle(1)
        assert run.finish().result == "new"
        assert names(run) == ["query", "p", "mutation", "sleep", "action"]
        assert_replays(run, patched)


@pytest.mark.parametrize("later", [patched, deprecated, removed], ids=lambda handler: handler.__name__)
@pytest.mark.parametrize("earlier", [patched, deprecated, removed], ids=lambda handler: handler.__name__)
def test_each_later_code_replays_the_journals_of_each_earlier_one(earlier: Handler, later: Handler) -> None:
    comes_back = later is patched and earlier is not patched  # what has no marker is taken for old
    for journal in journals(earlier):
        if comes_back and len(journal) > 1:
            assert isinstance(replayed(later, journal).violation, DeterminismViolation)
            continue
        with Live(later, journal=journal) as run:
            assert run.finish().result == "new"
            assert_replays(run, later)


def test_deprecate_records_nothing_for_new_workflows() -> None:
    assert names(live(deprecated)) == ["query", "mutation", "sleep", "action"]


def test_the_first_call_decides_for_the_whole_workflow() -> None:
    async def loop(step: StepContext) -> Any:
        return [
            await step.run_query(echo, (number, step.patched("p")) if with_patch else (number, False))
            for number in range(4)
        ]

    with_patch = False
    with Live(loop) as old:
        old.settle(1, 2)
        journal = old.journal()
    with_patch = True
    with Live(loop, journal=journal) as run:
        assert [taken for _, taken in run.finish().result] == [False] * 4
        assert "p" not in names(run)
    run = live(loop)
    assert [taken for _, taken in run.result] == [True] * 4
    assert names(run).count("p") == 1
    assert_replays(run, loop)


def test_several_patches_in_a_row_have_a_marker_each() -> None:
    async def handler(step: StepContext) -> Any:
        got = [step.patched("a"), step.patched("b"), await step.run_query(echo, 1), step.patched("c")]
        return [*got, await step.run_query(echo, 2)]

    run = live(handler)
    assert run.result == [True, True, 1, True, 2]
    assert names(run) == ["a", "b", "query", "c", "query"]
    assert_replays(run, handler)

    async def without_a(step: StepContext) -> Any:
        return [
            step.patched("b"),
            await step.run_query(echo, 1),
            step.patched("c"),
            await step.run_query(echo, 2),
        ]

    async def without_any(step: StepContext) -> Any:
        return [await step.run_query(echo, 1), await step.run_query(echo, 2)]

    async def without_b(step: StepContext) -> Any:
        return [
            step.patched("a"),
            await step.run_query(echo, 1),
            step.patched("c"),
            await step.run_query(echo, 2),
        ]

    for later, result in (
        (without_a, [True, 1, True, 2]),
        (without_b, [True, 1, True, 2]),
        (without_any, [1, 2]),
    ):
        again = replayed(later, run.journal())
        assert again.result == result
        assert [each.name for each in again.replay.commands] == [each.name for each in run.replay.commands]


def test_a_new_patch_in_the_place_of_a_removed_one_is_not_taken_by_who_has_passed_it() -> None:
    async def handler(step: StepContext) -> Any:
        return [step.patched(name), await step.run_query(echo, 1), await step.run_query(echo, 2)]

    name = "a"
    with Live(handler) as old:
        old.settle(2)
        journal = old.journal()
    name = "b"
    with Live(handler, journal=journal) as run:
        assert run.finish().result == [False, 1, 2]
        assert names(run) == ["a", "query", "query"]


@pytest.mark.parametrize("moved", ["later", "earlier"])
def test_a_call_that_was_moved_still_finds_its_marker(moved: str) -> None:
    async def handler(step: StepContext) -> Any:
        await step.run_query(echo, 0)
        step.patched("p")
        await step.run_query(echo, 1)
        return step.patched("p")

    async def later(step: StepContext) -> Any:
        await step.run_query(echo, 0)
        await step.run_query(echo, 1)
        return step.patched("p")

    async def earlier(step: StepContext) -> Any:
        first = step.patched("p")
        await step.run_query(echo, 0)
        await step.run_query(echo, 1)
        return first

    run = live(handler)
    again = replayed(later if moved == "later" else earlier, run.journal())
    assert again.result is True
    assert names(again) == names(run) == ["query", "p", "query"]


def test_patches_in_parallel_branches() -> None:
    async def branch(step: StepContext, name: str) -> Any:
        await step.run_action(echo, name)
        if step.patched(name):
            await step.run_action(other, name)
        return await step.run_action(echo, f"{name} again")

    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(*(branch(step, name) for name in "abc"))

    for choose in (min, max):
        with Live(handler) as run:
            run.finish(choose)
            assert run.result == ["a again", "b again", "c again"]
            assert sorted(name for name in names(run) if name != "action") == ["a", "b", "c"]
            assert_replays(run, handler)


def test_an_old_branch_and_one_that_comes_to_its_patch_later() -> None:
    with_patches = False

    async def branch(step: StepContext, name: str) -> Any:
        await step.run_action(echo, name)
        new = with_patches and step.patched(name)
        return await step.run_action(other if new else echo, "next")

    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(branch(step, "fast"), branch(step, "slow"))

    with Live(handler) as old:
        old.settle(1)
        journal = old.journal()
    with_patches = True
    with Live(handler, journal=journal) as run:
        run.settle(2)  # the slow branch comes to its patch with the new code
        run.finish()
        assert names(run) == ["action", "action", "action", "slow", "action"]
        assert [each.function.rpartition(".")[2] for each in run.replay.commands] == [
            "echo",
            "echo",
            "echo",
            "",
            "other",
        ]
        assert_replays(run, handler)


def test_a_hole_that_a_restart_left_is_not_the_frontier() -> None:
    """A step that was given up has no row after a restart; the workflow has passed the place all the same."""
    with_patch = False

    async def handler(step: StepContext) -> Any:
        await step.run_query(echo, 1)
        new = with_patch and step.patched("p")
        await step.first_completed(step.sleep(60), step.run_action(echo, 2))
        return [new, await step.run_action(other, 3), await step.run_action(echo, 4)]

    with Live(handler) as old:
        old.settle(1, 3, 4)
        journal = [row for row in old.journal() if row.state != "canceled"]
    assert [row.number for row in journal] == [1, 3, 4, 5]
    with_patch = True
    with Live(handler, journal=journal) as run:
        assert run.finish().result == [False, 3, 4]


@pytest.mark.parametrize("name", ["", "x" * 201, "two\nlines", None, 7], ids=repr)
@pytest.mark.parametrize("call", ["patched", "deprecate_patch"])
def test_what_is_no_name_of_a_patch_is_refused(call: str, name: Any) -> None:
    async def handler(step: StepContext) -> Any:
        getattr(step, call)(name)

    with pytest.raises(UsageError, match=rf"step\.{call}\("):
        live(handler).result  # noqa: B018  raises what the handler raised
