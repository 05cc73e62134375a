"""The description of the REST API: complete, committed, and the same on every version of Django."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.admindocs.views import simplify_regex
from django.core.management import call_command
from django.test import override_settings
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.settings import patched_settings

from django_workflow.rest.problems import MEDIA_TYPE
from django_workflow.rest.routes import routes
from django_workflow.rest.views import WorkflowViewSet
from tests.contracts.markdown import ROOT

COMMITTED = ROOT / "docs" / "openapi.yaml"
METHODS = ("get", "post", "put", "patch", "delete")


def generated(file: Path, urlconf: str = "example_project.urls") -> str:
    """The description as it is now; warnings are errors."""
    call_command("spectacular", file=str(file), urlconf=urlconf, validate=True, fail_on_warn=True)
    return file.read_text()


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for address, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {address}", operation


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    description: dict[str, Any] = yaml.safe_load(COMMITTED.read_text())
    return description


def test_the_committed_description_is_that_of_the_code(tmp_path: Path) -> None:
    assert generated(tmp_path / "openapi.yaml") == COMMITTED.read_text(), (
        "run `make openapi` and look at the diff"
    )


def test_every_route_and_method_is_described(committed: dict[str, Any]) -> None:
    served = set()
    patterns, _ = routes()
    for pattern in patterns:
        assert isinstance(pattern, URLPattern)
        view: Any = pattern.callback
        address = re.sub(r"<(\w+:)?(\w+)>", r"{\2}", simplify_regex(str(pattern.pattern)))
        methods = getattr(view, "actions", None) or [name for name in METHODS if hasattr(view.cls, name)]
        served |= {f"{method} /api{address}" for method in methods if method in METHODS}
    assert {name for name, _ in operations(committed)} == served


def test_every_operation_says_what_it_does_and_who_may(committed: dict[str, Any]) -> None:
    seen = set()
    for name, operation in operations(committed):
        assert operation["summary"], name
        assert operation["description"], name
        assert len(operation["tags"]) == 1, name
        assert operation["operationId"].startswith("workflow_"), name
        seen.add(operation["operationId"])
        asks = operation.get("security", [])
        if "/events/{token}/" in name:
            assert asks == [], name
        else:
            assert {"basicAuth", "cookieAuth"} <= {each for one in asks for each in one}, name
            assert ({} in asks) == ("/health/" in name)
    assert len(seen) == len(list(operations(committed)))


def test_every_refusal_is_a_problem(committed: dict[str, Any]) -> None:
    for name, operation in operations(committed):
        refusals = {code: told for code, told in operation["responses"].items() if code.startswith("4")}
        assert refusals, name
        for code, told in refusals.items():
            problem = told["content"][MEDIA_TYPE]["schema"]
            assert problem == {"$ref": "#/components/schemas/WorkflowProblem"}, (name, code)
            assert set(told["content"]) <= {MEDIA_TYPE, "text/html"}, (name, code)
            assert ("text/html" in told["content"]) == ("/events/{token}/" in name)
            assert told["description"].startswith("`"), (name, code)


@pytest.mark.parametrize(
    ("operation", "location", "names"),
    [
        (
            "get /api/workflows/",
            "query",
            "state definition key created_after created_before labels cursor page_size",
        ),
        ("post /api/workflows/", "header", "Idempotency-Key"),
        ("get /api/workflows/{id}/", "header", "If-None-Match"),
        ("get /api/workflows/{id}/status/", "query", "wait"),
        ("get /api/workflows/{id}/status/", "header", "If-None-Match"),
        ("get /api/workflows/{id}/steps/", "query", "cursor page_size"),
        ("get /api/workflows/{id}/stream/", "header", "Last-Event-ID"),
    ],
)
def test_parameters(committed: dict[str, Any], operation: str, location: str, names: str) -> None:
    parameters = dict(operations(committed))[operation].get("parameters", [])
    assert {each["name"] for each in parameters if each["in"] == location} == set(names.split())


@pytest.mark.parametrize(
    ("operation", "code", "header"),
    [
        ("post /api/workflows/", "201", "Location"),
        ("post /api/workflows/", "200", "Location"),
        ("post /api/workflows/{id}/fork/", "201", "Location"),
        ("get /api/workflows/{id}/", "200", "ETag"),
        ("get /api/workflows/{id}/status/", "304", "ETag"),
        ("post /api/workflows/{id}/cancel/", "429", "Retry-After"),
    ],
)
def test_headers_of_answers(committed: dict[str, Any], operation: str, code: str, header: str) -> None:
    assert header in dict(operations(committed))[operation]["responses"][code]["headers"]


def test_unknown_fields_are_refused_by_the_description_too(committed: dict[str, Any]) -> None:
    for name in ("Start", "Cancel", "Restart", "Fork", "Event", "Cleanup"):
        assert committed["components"]["schemas"][f"Workflow{name}"]["additionalProperties"] is False


# ── in other projects ─────────────────────────────────────────────────────────────────────────────────────────────


class TenantViewSet(WorkflowViewSet):
    """A project's own."""


urlpatterns: list[URLPattern | URLResolver] = [path("tenants/", include(routes(TenantViewSet)))]


def test_a_project_with_a_view_set_of_its_own_has_the_same_operations(
    committed: dict[str, Any], tmp_path: Path
) -> None:
    theirs = yaml.safe_load(generated(tmp_path / "openapi.yaml", urlconf=__name__))
    ours = {name.replace("/api/", "/tenants/"): told["operationId"] for name, told in operations(committed)}
    assert {name: told["operationId"] for name, told in operations(theirs)} == ours


@pytest.mark.parametrize(
    "settings",
    [
        {"OAS_VERSION": "3.1.0"},
        {"COMPONENT_SPLIT_REQUEST": True},
        {"ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False},
    ],
)
def test_it_is_clean_under_other_settings_of_the_generator(settings: dict[str, Any], tmp_path: Path) -> None:
    with patched_settings(settings):
        assert "WorkflowStatus" in generated(tmp_path / "openapi.yaml")


def test_the_example_serves_it(client: Any, committed: dict[str, Any]) -> None:
    with override_settings(ROOT_URLCONF="example_project.urls"):
        served = yaml.safe_load(client.get("/api/schema/").content)
    assert served["paths"].keys() == committed["paths"].keys()


def test_nothing_needs_it() -> None:
    program = """
        import sys
        sys.modules["drf_spectacular"] = None  # as if it were not installed
        import django
        from django.conf import settings
        settings.configure(
            SECRET_KEY="of the test", ROOT_URLCONF="django_workflow.rest.urls", ALLOWED_HOSTS=["*"], USE_TZ=True,
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_workflow", "rest_framework"],
        )
        django.setup()
        from django.core.management import call_command
        from django.contrib.auth.models import User
        call_command("migrate", verbosity=0)
        from rest_framework.test import APIClient
        client = APIClient()
        client.force_authenticate(User(username="root", is_superuser=True))
        assert client.get("/workflows/").json()["results"] == []
        assert client.get("/definitions/").status_code == 200
        assert not [name for name in sys.modules if name.startswith("django_workflow.rest.openapi")]
        assert not [name for name, module in sys.modules.items() if name.startswith("drf_spectacular") and module]
    """
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
