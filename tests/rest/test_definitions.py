"""`GET definitions/`: what may be started over HTTP, with the JSON Schema of its arguments."""

from typing import Any

import jsonschema
import pytest

from tests.rest.stage import at, boss, client_of, fields, problem, user

pytestmark = pytest.mark.django_db


def schema(name: str) -> dict[str, Any]:
    told: dict[str, Any] = boss().get(at("definition-detail", name)).json()
    assert (told["name"], told["version"]) == (name, 1)
    found: dict[str, Any] = told["args_schema"]
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def test_the_list_has_what_is_for_the_outside_by_name() -> None:
    results = boss().get(at("definition-list")).json()["results"]
    names = [each["name"] for each in results]
    assert names == sorted(names)
    assert {"rest.order", "rest.placed", "rest.note"} <= set(names)
    assert "rest.inside" not in names
    order = next(each for each in results if each["name"] == "rest.order")
    assert order == boss_sees("rest.order")
    assert order["description"] == "Deliver what was ordered, once it is approved."


def boss_sees(name: str) -> Any:
    return client_of(user("starter", "start_workflow")).get(at("definition-detail", name)).json()


@pytest.mark.parametrize(
    "name", ["rest.inside", "rest.nowhere", "Rest.Order", "os.system", "a/b", "%00", "x" * 3000]
)
def test_what_is_not_for_the_outside_is_not_there(name: str) -> None:
    problem(boss().get(f"/api/definitions/{name}/"), "not-found")


def test_the_schema_is_that_of_the_annotations() -> None:
    found = schema("rest.order")
    assert found["properties"]["label"] == {"type": "string"}
    assert found["properties"]["amount"] == {"type": "integer", "default": 1}
    assert (found["required"], found["additionalProperties"]) == (["label"], False)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("rest.order", {"label": "a"}),
        ("rest.order", {"label": "a", "amount": 2}),
        ("rest.order", {}),
        ("rest.order", {"label": 5}),
        ("rest.order", {"label": "a", "amount": "many"}),
        ("rest.order", {"label": "a", "colour": "red"}),
        ("rest.placed", {"first": 1}),
        ("rest.placed", {"first": 1, "second": 2, "third": 3}),
        ("rest.placed", {"second": 2}),
        ("rest.placed", {"first": None}),
        ("rest.note", {"value": [1, {"a": None}]}),
        ("rest.note", {}),
        ("rest.note", []),
    ],
)
def test_what_the_schema_says_is_what_a_start_says(name: str, args: Any) -> None:
    client = client_of(user("starter", "start_workflow"))
    if isinstance(args, dict):
        fits = jsonschema.Draft202012Validator(schema(name)).is_valid(args)
        response = client.post(at("workflow-list"), {"definition": name, "args": args}, format="json")
        assert response.status_code == (201 if fits else 400), response.content


@pytest.mark.parametrize("name", ["definition-list", "definition-detail"])
def test_a_query_that_is_not_known(name: str) -> None:
    address = at(name, *(["rest.order"] if name.endswith("detail") else []))
    assert set(fields(boss().get(address + "?page=2&page=3"))) == {"page"}
