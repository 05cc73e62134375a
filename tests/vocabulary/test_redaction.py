"""What must not be shown is masked wherever its name is a key, and nothing else is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_workflow.redaction import MASK, masked, masked_text

NAMES = ("password", "api_key")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "x", "name": "ann"}, {"password": MASK, "name": "ann"}),
        ({"PassWord": 1, "API_KEY": None}, {"PassWord": MASK, "API_KEY": MASK}),
        ({"a": [{"b": {"password": {"deep": "x"}}}]}, {"a": [{"b": {"password": MASK}}]}),
        ({"password": ["x", "y"], "password2": "y"}, {"password": MASK, "password2": "y"}),
        (["password", "x"], ["password", "x"]),
        ("password", "password"),
        ({"my password": "x"}, {"my password": "x"}),
        (None, None),
        (({"password": 1},), [{"password": MASK}]),
    ],
)
def test_what_stands_under_a_name_is_masked(value: Any, shown: Any) -> None:
    assert masked(value, NAMES) == shown


def test_names_are_compared_as_case_folds() -> None:
    assert masked({"STRASSE": 1, "Straße": 2}, ["straße"]) == {"STRASSE": MASK, "Straße": MASK}


def test_what_is_given_stays_as_it_is() -> None:
    value = {"a": [{"password": "x"}]}
    masked(value, NAMES)
    assert value == {"a": [{"password": "x"}]}


def test_without_names_nothing_is_masked() -> None:
    assert masked({"password": "x"}, ()) == {"password": "x"}


def test_json_text_keeps_its_order() -> None:
    assert masked_text('{"z":1,"password":"x","a":[2]}', NAMES) == f'{{"z":1,"password":"{MASK}","a":[2]}}'


plain = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "Password", "b"]), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(plain)
def test_no_secret_is_left_and_the_rest_is_equal(value: Any) -> None:
    def secrets(part: Any) -> list[Any]:
        if isinstance(part, dict):
            own = [part["Password"]] if "Password" in part else []
            return own + [found for item in part.values() for found in secrets(item)]
        return [found for item in part for found in secrets(item)] if isinstance(part, list) else []

    shown = masked(value, NAMES)
    assert all(secret == MASK for secret in secrets(shown))
    assert masked(shown, NAMES) == shown
    if "Password" not in json.dumps(value):
        assert shown == value
