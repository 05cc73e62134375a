"""Behaviour 38: labels find a workflow, exactly, on every database."""

from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest

from django_workflow import InProgress, StepContext, workflow
from django_workflow.exceptions import InvalidArguments
from django_workflow.models import Label, Workflow
from django_workflow.testing import Harness
from tests.behaviours.code import deploy, deployed
from tests.shop.workflows import echo, steps_of_all_kinds

pytestmark = pytest.mark.django_db


def labeled(labels: Any) -> Workflow:
    return echo.using(labels=labels).start(1)


def found(**labels: Any) -> set[Any]:
    return {run.id for run in workflow.list(labels=labels)}


def test_38_one_label_finds_those_that_bear_it() -> None:
    a, b, c = labeled({"customer": "ann"}), labeled({"customer": "bob"}), labeled({"other": "ann"})
    assert found(customer="ann") == {a.id}
    assert found(customer="bob") == {b.id}
    assert found(other="ann") == {c.id}
    assert found(customer="cid") == found(nothing="ann") == set()


def test_38_several_labels_find_those_that_bear_them_all() -> None:
    both = labeled({"customer": "ann", "country": "de", "vip": True})
    labeled({"customer": "ann", "country": "fr"})
    labeled({"customer": "bob", "country": "de"})
    assert found(customer="ann", country="de") == {both.id}
    assert found(customer="ann", country="de", vip=True) == {both.id}
    assert found(customer="ann", country="de", vip=False) == set()
    assert len(found(customer="ann")) == 2


def test_38_no_labels_find_everything() -> None:
    run, plain = labeled({"a": 1}), echo.start(1)
    assert found() == {run.id, plain.id}


def test_38_labels_go_with_the_other_filters(workflow_harness: Harness) -> None:
    done = labeled({"a": 1})
    workflow_harness.drain()
    waiting = labeled({"a": 1})
    other = deployed.using(labels={"a": 1}).start()
    assert [run.id for run in workflow.list(echo, "completed", {"a": 1})] == [done.id]
    assert [run.id for run in workflow.list(echo, labels={"a": 1})] == [waiting.id, done.id]
    assert {run.id for run in Workflow.objects.in_progress().labeled({"a": 1})} == {waiting.id, other.id}
    assert Workflow.objects.labeled({"a": 1}).filter(definition="behaviours.deployed").get() == other


VALUES = [
    42,
    0,
    -1,
    10**60,
    1.5,
    -0.25,
    1e308,
    True,
    False,
    None,
    "",
    "text",
    " blanks at both ends ",
    "Straße",
    "漢字 🎈",
    "x" * 200,
    "%_'\"\\",
]


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_38_any_kind_of_value_is_found_and_shown_as_it_was(value: Any) -> None:
    run = labeled({"value": value})
    labeled({"value": "something else"})
    assert found(value=value) == {run.id}
    stored = workflow.get(run).labels["value"]
    assert stored == value
    assert type(stored) is type(value)


@pytest.mark.parametrize(
    "name", ["x", "x" * 100, "with blanks", "Straße", "漢字🎈", "a.b", "label.a", "%"], ids=ascii
)
def test_38_any_printable_text_is_a_name(name: str) -> None:
    run = labeled({name: 1})
    assert found(**{name: 1}) == {run.id}
    assert workflow.get(run).labels == {name: 1}


def test_38_a_number_and_its_text_are_the_same_label() -> None:
    number, text = labeled({"customer": 42}), labeled({"customer": "42"})
    assert found(customer=42) == found(customer="42") == {number.id, text.id}
    assert (workflow.get(number).labels, workflow.get(text).labels) == ({"customer": 42}, {"customer": "42"})


def test_38_values_that_look_alike_are_different_labels() -> None:
    texts = ["ann", "Ann", "ANN", "ann ", " ann", "ánn", "42", "42.0", "4 2", "true", "True", "null", "None"]
    runs = {text: labeled({"customer": text}).id for text in texts}
    assert {text: found(customer=text) for text in texts} == {text: {run} for text, run in runs.items()}
    names = ["name", "Name", "name "]
    ids = {name: labeled({name: 1}).id for name in names}
    assert {name: found(**{name: 1}) for name in names} == {name: {run} for name, run in ids.items()}


class Color(StrEnum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Old(str, Enum):  # noqa: UP042  unlike a StrEnum's, its str() is not its value
    ONE = "one"


@pytest.mark.parametrize(("member", "plain"), [(Color.RED, "red"), (Size.BIG, 3), (Old.ONE, "one")])
def test_38_a_member_of_an_enum_is_its_value(member: Any, plain: Any) -> None:
    run = labeled({"of": member})
    assert found(of=plain) == found(of=member) == {run.id}
    assert workflow.get(run).labels == {"of": plain}


def test_38_fifty_labels_are_the_most() -> None:
    run = labeled({f"name {n}": n for n in range(50)})
    assert all(found(**{f"name {n}": n}) == {run.id} for n in (0, 49))
    with pytest.raises(InvalidArguments, match="51 are given, and a workflow has 50 at most"):
        echo.using(labels={f"name {n}": n for n in range(51)})


def test_38_bad_labels_are_all_listed_and_nothing_is_stored() -> None:
    bad: dict[Any, Any] = {
        "": 1,
        "x" * 101: 1,
        "a\nb": 1,
        5: 1,
        "long": "y" * 201,
        "huge": 10**200,
        "list": [1],
        "nan": float("nan"),
        "infinite": float("inf"),
        "control": "a\0b",
        "surrogate": "\ud800",
        "bytes": b"x",
        "fine": "fine",
    }
    with pytest.raises(InvalidArguments) as refused:
        echo.using(labels=bad, key="")
    assert len(refused.value.problems) == len(bad)  # all but the fine one, and the key
    for name in ("long", "huge", "list", "nan", "infinite", "control", "surrogate", "bytes"):
        assert f"labels['{name}']" in str(refused.value)
    assert "fine" not in str(refused.value)
    assert not Workflow.objects.exists()


@pytest.mark.parametrize("labels", [5, "a=1", [("a", 1)], {"a"}, True])
def test_38_what_is_no_dict_is_refused(labels: Any) -> None:
    with pytest.raises(InvalidArguments, match="no dict of names and values"):
        echo.using(labels=labels)
    with pytest.raises(InvalidArguments, match="no dict of names and values"):
        workflow.list(labels=labels)


def test_38_a_filter_refuses_labels_that_none_can_bear() -> None:
    with pytest.raises(InvalidArguments, match=r"labels\['a'\]: \[1\] is no label"):
        workflow.list(labels={"a": [1]})


def test_38_later_labels_replace_earlier_ones() -> None:
    run = echo.using(labels={"a": 1, "b": 2}).using(labels={"c": 3}).start(1)
    assert workflow.get(run).labels == {"c": 3}
    assert found(a=1) == set()


def test_38_what_becomes_of_the_dict_afterwards_changes_nothing() -> None:
    labels: dict[str, Any] = {"a": 1}
    definition = echo.using(labels=labels)
    labels["a"] = [2]
    run = definition.start(1)
    assert workflow.get(run).labels == {"a": 1}
    assert found(a=1) == {run.id}


def test_38_a_fork_bears_the_labels_of_its_original(workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.using(labels={"customer": 42}).start("x")
    workflow_harness.drain()
    fork = run.fork(2)
    assert workflow.get(fork).labels == {"customer": 42}
    assert found(customer="42") == {run.id, fork.id}
    assert isinstance(workflow.status(fork), InProgress)


def test_38_labels_stay_over_a_restart_and_go_with_the_cleanup(workflow_harness: Harness) -> None:
    run = labeled({"customer": 42})
    workflow_harness.drain()
    run.restart()
    assert found(customer=42) == {run.id}
    workflow_harness.drain()
    assert run.cleanup()
    assert (found(customer=42), Label.objects.count()) == (set(), 0)


def test_38_children_bear_their_own_labels_only(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_workflow(echo.using(labels={"child": 1}), 1)
        return await step.run_workflow(echo, 2)

    run = deployed.using(labels={"parent": 1}).start()
    workflow_harness.drain()
    assert found(parent=1) == {run.id}
    assert [each.definition for each in workflow.list(labels={"child": 1})] == ["shop.echo"]
