"""Keys and labels, and the digests that any database finds them by. No database."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_workflow.exceptions import InvalidArguments
from django_workflow.keys import digest, key_problem, label_digests, label_problems, text_of


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_digests_are_equal_for_equal_texts_only(one: list[str], other: list[str]) -> None:
    assert (digest(*one) == digest(*other)) is (one == other)


def test_a_digest_has_64_hexadecimal_digits() -> None:
    assert len(digest("a")) == 64
    assert set(digest("a")) <= set("0123456789abcdef")


def test_where_one_text_ends_and_the_next_begins_counts() -> None:
    splits = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("abc",), ('a", "b', "c")]
    assert len({digest(*parts) for parts in splits}) == len(splits)


@pytest.mark.parametrize("key", ["x", "x" * 200, "a b", "é🎈"])
def test_printable_texts_are_keys(key: str) -> None:
    assert key_problem(key) is None


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "\0", 5, None, b"x", ["x"]])
def test_the_rest_is_refused_by_name(key: Any) -> None:
    assert key_problem(key) == f"key: {key!r} is no key; give 1 to 200 printable characters"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (42, "42"),
        ("42", "42"),
        (True, "true"),
        (None, "null"),
        (1.5, "1.5"),
        ("", ""),
        (10**30, "1" + "0" * 30),
    ],
)
def test_a_labels_text(value: Any, text: str) -> None:
    assert text_of(value) == text
    assert label_problems({"name": value}) == []


@pytest.mark.parametrize(
    "value",
    [
        10**200,
        pytest.param(10**5000, id="huge"),
        float("nan"),
        float("inf"),
        [],
        {},
        b"",
        "x" * 201,
        "\n",
        object(),
    ],
)
def test_what_is_no_label_value_is_named(value: Any) -> None:
    (problem,) = label_problems({"name": value})
    assert problem.startswith("labels['name']: ")


def test_all_problems_of_labels_are_listed() -> None:
    problems = label_problems({"": 1, "a": [], "b": 1, **{f"c{n}": n for n in range(50)}})
    assert len(problems) == 3
    with pytest.raises(InvalidArguments) as refused:
        label_digests("list()", {"": 1, "a": []})
    assert refused.value.what == "list()"
    assert len(refused.value.problems) == 2


def test_name_and_value_both_count() -> None:
    labels = [{"a": "b"}, {"b": "a"}, {"a": "B"}, {"A": "b"}, {"ab": ""}, {"a": "b "}]
    digests = [label_digests("x", each) for each in labels]
    for one, other in itertools.combinations(digests, 2):
        assert set(one.values()).isdisjoint(other.values())
