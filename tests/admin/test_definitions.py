"""The definitions page, and the forms that start workflows: made of types, refused with words, logged without values."""

import enum
import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.forms import Field
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_workflow import Retry, StepContext, WorkflowManager, workflow
from django_workflow.admin.fields import field_of
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.admin.test_listing import HOSTILE, copies, text

DEFINITIONS = "admin:django_workflow_workflow_definitions"
START = "admin:django_workflow_workflow_start"
DETAIL = "admin:django_workflow_workflow_change"

limited = WorkflowManager("a <b>limited</b> pool", cluster="definitions", max_parallelism=3)


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Box:
    width: int
    marks: list[str]


@workflow.define(name="definitions.plain")
async def plain(
    step: StepContext,
    name: str,
    count: int,
    rate: float,
    price: Decimal,
    day: date,
    moment: datetime,
    which: UUID,
    size: Size,
    way: Literal["air", "sea", 7],
    box: Box,
    urgent: bool = False,
    note: str | None = None,
    limit: int | None = 5,
    tries: int = 3,
    sure: bool | None = None,
) -> None:
    return None


@workflow.define(name="definitions.any_call")
async def any_call(step: StepContext, first: int, /, second: int = 2, *more: int, **options: str) -> None:
    return None


@limited.define(
    name="definitions.<i>optioned</i>/é?&",
    version=2,
    retry=Retry(max_attempts=7),
    timeout=timedelta(days=2),
    redact=["card"],
    api=True,
)
async def optioned(
    step: StepContext,
    card: str = "4111",
    password: str = "hunter2",  # noqa: S107  what must not be shown
) -> None:
    return None


@workflow.define(name="definitions.fails")
async def fails(step: StepContext, value: Any) -> None:
    raise ValueError("no")


@workflow.define(name="definitions.waits")
async def waits(step: StepContext) -> Any:
    return await step.wait_for_event("go")


PLAIN = {
    "arg_name": " Ada ",
    "arg_count": "3",
    "arg_rate": "0.5",
    "arg_price": "9.90",
    "arg_day": "2026-02-03",
    "arg_moment": "2026-02-03T04:05:06",
    "arg_which": "0193f2a1-0000-7000-8000-000000000001",
    "arg_size": "LARGE",
    "arg_way": "7",
    "arg_box": '{"width": 2, "marks": ["a"]}',
    "arg_urgent": "on",
    "arg_note": "",
    "arg_limit": "",
    "arg_tries": "",
    "arg_sure": "",
}


def login(client: Client, *codenames: str) -> Client:
    user = User.objects.create_user("-".join(["staff", *codenames]), is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


@pytest.fixture
def starter(client: Client, db: None) -> Client:
    return login(client, "view_workflow", "start_workflow")


def address(definition: Any) -> str:
    return f"{reverse(START)}?{urlencode({'name': definition.name, 'version': definition.version})}"


def post(client: Client, definition: Any, **data: str) -> Any:
    return client.post(address(definition), data)


def started(client: Client, definition: Any, **data: str) -> Workflow:
    answer = post(client, definition, **data)
    assert answer.status_code == 302, text(answer.content.decode())
    run = Workflow.objects.latest("created_at", "id")
    assert answer["Location"] == reverse(DETAIL, args=[run.id])
    return run


def refused(client: Client, definition: Any, **data: str) -> str:
    answer = post(client, definition, **data)
    assert answer.status_code == 200
    assert not LogEntry.objects.exists()
    said = text(answer.content.decode())
    assert "Nothing was started." in said
    return said


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────


def row(client: Client, name: str) -> str:
    """What the page says of a definition."""
    html = client.get(reverse(DEFINITIONS)).content.decode()
    found = [
        each for each in re.findall(r"<tr>.*?</tr>", html, re.DOTALL) if f">{name}</a></th>" in unescape(each)
    ]
    assert len(found) == 1, html
    return text(found[0])


def test_each_definition_with_its_options(starter: Client, workflow_harness: Harness) -> None:
    said = row(starter, optioned.name)
    for option in (
        "timeout: 2 d",
        "retry: 7 attempts",
        "pool: a <b>limited</b> pool, 3",
        "cluster: definitions",
        "API: may be started over HTTP",
        "redacted: card",
    ):
        assert option in said
    assert "pool" not in row(starter, "definitions.fails")


def test_how_its_workflows_do(starter: Client, workflow_harness: Harness) -> None:
    runs = [any_call.start(1), any_call.start(2), any_call.start(3)]
    fails.start(1)
    waits.start()
    waits.start()
    workflow_harness.drain()
    now = workflow.now()
    for run, seconds in zip(runs, (1, 2, 40), strict=True):
        Workflow.objects.filter(pk=run.pk).update(
            started_at=now - timedelta(seconds=seconds), completed_at=now
        )
    assert row(starter, "definitions.any_call").startswith("definitions.any_call 1 0 3 completed 2.0 s, 40 s")
    assert row(starter, "definitions.fails").startswith("definitions.fails 1 0 1 failed –")
    assert row(starter, "definitions.waits").startswith("definitions.waits 1 2 2 in progress –")
    Workflow.objects.update(created_at=now - timedelta(hours=25))
    assert row(starter, "definitions.waits").startswith("definitions.waits 1 2 – –")


def test_what_no_code_registers_is_named(starter: Client, workflow_harness: Harness) -> None:
    assert "no code registers it" not in starter.get(reverse(DEFINITIONS)).content.decode()
    waits.start()
    waits.start()
    ended = any_call.start(1)
    workflow_harness.drain()
    one = Workflow.objects.in_progress().first()
    assert one is not None
    Workflow.objects.filter(pk=one.pk).update(version=9)
    Workflow.objects.in_progress().exclude(pk=one.pk).update(definition=HOSTILE)
    Workflow.objects.filter(pk=ended.pk).update(definition="definitions.finished_and_gone")
    html = starter.get(reverse(DEFINITIONS)).content.decode()
    said = text(html)
    assert "In progress, but no code registers it" in said
    assert "definitions.waits v9: 1 workflow waits for its code" in said
    assert f"{HOSTILE} v1: 1 workflow waits for its code" in said
    assert "finished_and_gone" not in said
    assert "<script>alert" not in html


def test_the_statements_do_not_grow_with_the_rows(starter: Client, workflow_harness: Harness) -> None:
    waits.start()
    workflow_harness.drain()

    def count() -> int:
        starter.get(reverse(DEFINITIONS))
        with CaptureQueriesContext(connection) as captured:
            starter.get(reverse(DEFINITIONS))
        return len(captured)

    before = count()
    copies(Workflow.objects.get(), 300)
    assert count() == before


# ── the form ────────────────────────────────────────────────────────────────────────────────────────────────


def test_values_arrive_by_their_types(starter: Client, workflow_harness: Harness) -> None:
    run = started(starter, plain, **PLAIN)
    assert run.args == {
        "name": " Ada ",
        "count": 3,
        "rate": 0.5,
        "price": "9.90",
        "day": "2026-02-03",
        "moment": "2026-02-03T04:05:06Z",
        "which": "0193f2a1-0000-7000-8000-000000000001",
        "size": "l",
        "way": 7,
        "box": {"width": 2, "marks": ["a"]},
        "urgent": True,
        "note": None,
        "limit": None,
        "tries": 3,
        "sure": None,
    }
    assert workflow.get(run).definition == "definitions.plain"
    workflow_harness.drain()
    assert workflow_harness.result(run) is None


def test_the_form_shows_types_and_defaults(starter: Client) -> None:
    html = starter.get(address(plain)).content.decode()
    for field, widget in {
        "arg_count": 'type="text"',
        "arg_day": 'type="date"',
        "arg_moment": 'type="datetime-local"',
        "arg_urgent": 'type="checkbox"',
    }.items():
        tag = re.search(rf'<input[^>]*name="{field}"[^>]*>', html)
        assert tag is not None
        assert widget in tag[0]
    for field in ("arg_size", "arg_way", "arg_sure"):
        assert f'<select name="{field}"' in html
    assert '<textarea name="arg_box"' in html
    for said in (">Box<", ">Size<", ">int, without it 3<", ">Literal[&#x27;air&#x27;, &#x27;sea&#x27;, 7]<"):
        assert said in html
    tries = re.search(r'<input[^>]*name="arg_tries"[^>]*>', html)
    assert tries is not None
    assert 'value="3"' in tries[0]
    assert not re.findall(
        r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html[html.index("content-main") :]
    )


def test_arguments_by_position_and_by_name(starter: Client, workflow_harness: Harness) -> None:
    run = started(
        starter, any_call, arg_first="1", arg_second="5", arg_more="[3, 4]", arg_options='{"a": "b"}'
    )
    assert run.args == {
        "first": 1,
        "second": 5,
        "*more": [3, 4],
        "**options": {"a": "b"},
    }
    assert started(starter, any_call, arg_first="1").args == {"first": 1, "second": 2}
    assert started(starter, any_call, arg_first="1", arg_more="[8]").args == {
        "first": 1,
        "second": 2,
        "*more": [8],
    }


def test_key_labels_and_time(starter: Client, workflow_harness: Harness) -> None:
    options = {"key": "k-1", "labels": '{"customer": 42}', "run_at": "2036-01-02T03:04:05"}
    run = started(starter, waits, **options)
    assert (run.key, run.labels, run.due_at) == (
        "k-1",
        {"customer": 42},
        datetime(2036, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    again = started(starter, waits, **options)
    assert again.id == run.id
    assert Workflow.objects.count() == LogEntry.objects.count() == 1  # nothing was started the second time


def test_a_key_conflict_is_an_error_of_the_form(starter: Client, workflow_harness: Harness) -> None:
    any_call.using(key="taken").start(1)
    said = refused(starter, any_call, key="taken", arg_first="2")
    assert "The key “taken” belongs to workflow" in said
    assert Workflow.objects.count() == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"arg_count": "many"}, "Enter a whole number."),
        ({"arg_count": ""}, "This field is required."),
        ({"arg_rate": "NaN"}, "Enter a number."),
        ({"arg_size": "HUGE"}, "Select a valid choice. HUGE is not one of the available choices."),
        ({"arg_box": "{"}, "This is no JSON: "),
        ({"arg_box": "[" * 100_000}, "This is no JSON: "),
        ({"arg_box": "NaN"}, "This is no JSON: NaN is no number"),
        ({"arg_box": ""}, "This field is required."),
        ({"arg_box": '{"width": "wide", "marks": []}'}, "box.width: "),
        ({"arg_box": "null"}, "box: "),
        (
            {"arg_name": "a\ud800".encode("utf-8", "replace").decode() + "\0"},
            "Null characters are not allowed.",
        ),
        ({"labels": "[1]"}, "This is no JSON object."),
        ({"labels": '{"a": [1]}'}, "labels['a']: "),
        ({"labels": '{"a": ' + "9" * 5000 + "}"}, "This is no JSON: "),
        ({"key": "a\nb"}, "is no key"),
        ({"run_at": "tomorrow"}, "Enter a valid date/time."),
        ({"arg_name": HOSTILE, "arg_count": HOSTILE}, "Enter a whole number."),
    ],
)
def test_what_is_wrong_is_said_and_nothing_starts(
    starter: Client, workflow_harness: Harness, data: dict[str, str], said: str
) -> None:
    answer = post(starter, plain, **{**PLAIN, **data})
    html = answer.content.decode()
    assert answer.status_code == 200
    assert said in text(html)
    assert "<script>alert" not in html
    assert (Workflow.objects.count(), LogEntry.objects.count()) == (0, 0)


def test_a_value_that_is_too_large_is_refused(
    starter: Client, workflow_harness: Harness, settings: Any
) -> None:
    settings.DJANGO_WORKFLOW = {"VALUE_LIMIT": 100}
    assert "limit of 100 bytes" in refused(starter, fails, arg_value=json.dumps("x" * 200))


def test_plain_json_knows_null(starter: Client, workflow_harness: Harness) -> None:
    assert started(starter, fails, arg_value="null").args == {"value": None}
    assert started(starter, fails, arg_value='""').args == {"value": ""}
    assert "This field is required." in text(post(starter, fails, arg_value="").content.decode())


def test_a_secret_is_neither_shown_nor_sent_back(starter: Client, workflow_harness: Harness) -> None:
    html = starter.get(address(optioned)).content.decode()
    assert 'type="password" name="arg_card"' in html
    assert 'type="password" name="arg_password"' in html
    assert 'value="hunter2"' not in html
    html = post(starter, optioned, arg_password="canary", key="a\nb").content.decode()
    assert "is no key" in text(html)
    assert "canary" not in html
    run = started(starter, optioned, arg_password="canary")
    assert run.args == {"card": "4111", "password": "canary"}  # what was left empty is the code's
    assert "canary" not in "".join(
        f"{entry.object_repr}{entry.change_message}" for entry in LogEntry.objects.all()
    )


def test_the_log_says_who_started_what_and_no_value(starter: Client, workflow_harness: Harness) -> None:
    run = started(starter, fails, arg_value='"the canary"', key="k", labels='{"a": "the canary"}')
    entry = LogEntry.objects.get()
    assert entry.user.get_username() == "staff-view_workflow-start_workflow"
    assert entry.object_id == str(run.id)
    assert entry.get_change_message() == "Started definitions.fails version 1"
    assert "canary" not in entry.object_repr


@pytest.mark.parametrize(
    ("annotation", "field"),
    [
        (Annotated[int, "pages"], "IntegerField"),
        (int | None, "IntegerField"),
        (int | str, "JsonField"),
        (list[int], "JsonField"),
        (Any, "JsonField"),
        (Size | None, "TypedChoiceField"),
        (Annotated[Literal["a"] | None, ""], "TypedChoiceField"),
        (bool | None, "TypedChoiceField"),
        (timedelta, "JsonField"),
    ],
)
def test_fields_by_type(annotation: Any, field: str) -> None:
    made: Field = field_of(annotation)
    assert type(made).__name__ == field


# ── who may, and that looking changes nothing ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("codenames", "listed", "form"),
    [
        (("nobody",), 403, 403),
        (("view_workflow",), 200, 403),
        (("start_workflow",), 403, 403),  # who may start has to see, too
        (("view_workflow", "cancel_workflow", "view_payload"), 200, 403),
        (("view_workflow", "start_workflow"), 200, 200),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else str(value),
)
def test_who_may_see_and_start(
    client: Client, db: None, codenames: tuple[str, ...], listed: int, form: int
) -> None:
    login(client, *codenames)
    page = client.get(reverse(DEFINITIONS))
    assert page.status_code == listed
    assert client.get(address(waits)).status_code == form
    assert post(client, waits).status_code == (302 if form == 200 else 403)
    assert Workflow.objects.count() == (1 if form == 200 else 0)
    if listed == 200:
        assert (reverse(START) in page.content.decode()) is (form == 200)


@pytest.mark.parametrize("staff", [None, False], ids=["anonymous", "user"])
def test_others_are_led_to_the_login(client: Client, db: None, staff: bool | None) -> None:
    if staff is not None:
        client.force_login(User.objects.create_user("user"))
    for url in (reverse(DEFINITIONS), address(waits)):
        for answer in (client.get(url), client.post(url)):
            assert answer.status_code == 302
            assert answer["Location"].startswith("/admin/login/")
    assert not Workflow.objects.exists()


def test_get_starts_nothing(starter: Client, workflow_harness: Harness) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert (
            starter.get(address(any_call), {"arg_first": "1"}).status_code == 404
        )  # the query names no definition
        assert starter.get(f"{address(any_call)}&arg_first=1").status_code == 200
        assert starter.get(reverse(DEFINITIONS)).status_code == 200
    assert not [
        each for each in captured.captured_queries if each["sql"].startswith(("INSERT", "UPDATE", "DELETE"))
    ]
    assert not Workflow.objects.exists()


def test_a_post_without_its_token_is_refused(db: None) -> None:
    client = login(Client(enforce_csrf_checks=True), "view_workflow", "start_workflow")
    assert post(client, waits).status_code == 403
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(
    "query",
    [
        "",
        "name=os.system&version=1",
        "name=definitions.waits",
        "name=definitions.waits&version=2",
        "name=DEFINITIONS.WAITS&version=1",
    ],
)
def test_only_what_is_registered_can_be_started(starter: Client, query: str) -> None:
    assert starter.get(f"{reverse(START)}?{query}").status_code == 404
    assert starter.post(f"{reverse(START)}?{query}").status_code == 404


def test_the_list_links_it(starter: Client, workflow_harness: Harness) -> None:
    assert (
        reverse(DEFINITIONS)
        in starter.get(reverse("admin:django_workflow_workflow_changelist")).content.decode()
    )
