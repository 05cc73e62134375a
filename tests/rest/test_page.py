"""The tables of docs/rest.md are those of the code."""

import re
from typing import Any

from django_workflow.rest import urls
from django_workflow.rest.permissions import ALLOWED
from django_workflow.rest.problems import KINDS, URN
from tests.contracts.markdown import ROOT, names, table

PAGE = ROOT / "docs" / "rest.md"


def test_its_problems_are_those_of_the_code() -> None:
    rows = {names(row[0])[0]: int(row[1]) for row in table(PAGE, "Problems")}
    assert rows == {name: kind.status for name, kind in KINDS.items()}
    assert f"`{URN}`" in PAGE.read_text()


def test_its_routes_and_permissions_are_those_of_the_code() -> None:
    listed = {
        tuple(cell.split(" ")): set(names(row[1])) for row in table(PAGE, "Routes") for cell in names(row[0])[:2]
        if " " in cell
    }  # fmt: skip
    served: dict[tuple[str, ...], set[str]] = {}
    for pattern in urls.urlpatterns:
        view: Any = pattern.callback
        address = re.sub(r"\(\?P<id>[^)]*\)", "{id}", str(pattern.pattern).strip("^$"))
        address = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", address)
        actions = getattr(view, "actions", None) or {"get": getattr(view.view_class, "action", "")}
        for method, action in actions.items():
            if method != "head":
                served[(method.upper(), address)] = set(ALLOWED.get(action, ()))
    del served[("GET", "events/{token}/")]  # docs/links.md
    served[("GET", "health/")] = set()
    assert {route: needed for route, needed in listed.items() if route[1] != "events/{token}/"} == served
