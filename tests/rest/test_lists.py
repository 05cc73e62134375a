"""`GET workflows/`: pages and filters."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.rest.stage import at, boss, failed, fields, finished, inside, note, order, problem, waiting

pytestmark = pytest.mark.django_db


def ids(client: APIClient, **query: str) -> list[str]:
    response = client.get(at("workflow-list", **query))
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["results"]]


def walk(client: APIClient, address: str, way: str) -> list[list[str]]:
    pages = []
    following: str | None = address
    while following is not None:
        page = client.get(following).json()
        pages.append([row["id"] for row in page["results"]])
        following = page[way]
    return pages


@pytest.mark.parametrize(
    "moments",
    [
        [],  # those of the database's clock
        [datetime(2026, 1, 1, tzinfo=UTC)],
        [datetime(2026, 1, 1, 12, 30, 1, 500_000, tzinfo=UTC)],
        [datetime(2026, 1, 1, 12, 30, 1, 123_456, tzinfo=UTC)],
        [datetime(2026, 1, 1, second=n % 2, microsecond=n % 3, tzinfo=UTC) for n in range(6)],
    ],
)
def test_pages_forwards_and_back_over_rows_of_the_same_moment(moments: list[datetime]) -> None:
    runs = workflow.start_many(note, [{"value": n} for n in range(203)])
    for n, moment in enumerate(moments):
        mine = [run.id for run in runs[n :: len(moments)]]
        Workflow.objects.filter(id__in=mine).update(created_at=moment)
    client = boss()
    forwards = walk(client, at("workflow-list", page_size="20"), "next")
    assert [len(page) for page in forwards] == [20] * 10 + [3]
    everyone = [id for page in forwards for id in page]
    assert everyone == [str(run.id) for run in Workflow.objects.order_by("-created_at", "-id")]

    last = at("workflow-list", page_size="20")
    while (following := client.get(last).json()["next"]) is not None:
        last = following
    assert walk(client, last, "previous") == forwards[::-1]


def test_a_page_that_is_full_to_the_brim_is_the_last_one() -> None:
    workflow.start_many(note, [{}] * 4)
    client = boss()
    page = client.get(at("workflow-list", page_size="4")).json()
    assert (len(page["results"]), page["next"], page["previous"]) == (4, None, None)
    half = client.get(client.get(at("workflow-list", page_size="2")).json()["next"]).json()
    assert (len(half["results"]), half["next"]) == (2, None)
    front = client.get(half["previous"]).json()
    assert (len(front["results"]), front["previous"]) == (2, None)
    assert client.get(front["next"]).json() == half


def test_no_workflows_are_an_empty_page() -> None:
    assert boss().get(at("workflow-list")).json() == {"next": None, "previous": None, "results": []}


def test_a_page_keeps_its_filters_and_its_size() -> None:
    workflow.start_many(note, [{}] * 3)
    order.start("pear")
    address = boss().get(at("workflow-list", page_size="2", definition="rest.note")).json()["next"]
    assert "definition=rest.note" in address
    assert "page_size=2" in address


def test_what_is_new_does_not_move_the_pages() -> None:
    workflow.start_many(note, [{}] * 4)
    client = boss()
    first = client.get(at("workflow-list", page_size="2")).json()
    newer = note.start()
    second = client.get(first["next"]).json()
    shown = {row["id"] for page in (first, second) for row in page["results"]}
    assert len(shown) == 4
    assert str(newer.id) not in shown


def test_a_row_has_no_payloads(workflow_harness: Harness) -> None:
    failed(workflow_harness, "pear")
    (row,) = boss().get(at("workflow-list")).json()["results"]
    assert set(row) == {
        "id", "definition", "version", "state", "key", "labels", "priority", "cluster", "parent", "paused",
        "canceling", "created_at", "started_at", "completed_at",
    }  # fmt: skip
    assert "pear" not in json.dumps(row)


@pytest.mark.parametrize("size", ["0", "-1", "201", "1.5", "ten", "", "\x00", "٣", "9" * 500])
def test_a_size_that_is_none(size: str) -> None:
    assert set(fields(boss().get(at("workflow-list", page_size=size)))) == {"page_size"}


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


ID = "01a218b7a31070009d5f3fd0f011a789"
CRAFTED = [
    "",
    "x",
    "\x00",
    "é",
    "%",
    "====",
    "bm90IGpzb24=",
    "cD0yMDI2",
    cursor(),
    cursor("n"),
    cursor("n", "2026-01-01T00:00:00Z"),
    cursor("n", "2026-01-01T00:00:00", ID),
    cursor("n", "2026-01-01T00:00:00Z", ID, 1),
    cursor("x", "2026-01-01T00:00:00Z", ID),
    cursor(["n"], "2026-01-01T00:00:00Z", ID),
    cursor("n", 2026, ID),
    cursor("n", None, None),
    cursor("n", "2026-01-01T00:00:00Z", 5),
    cursor("n", "2026-01-01T00:00:00Z", "no id"),
    cursor("n", "2026-13-41T00:00:00Z", ID),
    cursor("n", "0001-01-01T00:00:00+14:00", ID),
    cursor("n", "9999-12-31T23:59:59-14:00", ID),
    base64.urlsafe_b64encode(b'{"n": 1}').decode(),
    base64.urlsafe_b64encode(b"5").decode(),
    base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    base64.urlsafe_b64encode(b"[" * 200).decode(),
    "A" * 100_000,
]


@pytest.mark.parametrize("crafted", CRAFTED)
def test_a_crafted_cursor(crafted: str) -> None:
    run = note.start()
    client = boss()
    assert set(fields(client.get(at("workflow-list", cursor=crafted)))) == {"cursor"}
    assert set(fields(client.get(at("workflow-steps", run.id, cursor=crafted)))) == {"cursor"}


@pytest.mark.parametrize("far", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
@pytest.mark.parametrize("way", ["n", "p"])
def test_a_cursor_at_the_end_of_time(far: str, way: str) -> None:
    note.start()
    response = boss().get(at("workflow-list", cursor=cursor(way, far, ID)))
    assert response.status_code == 200
    assert len(response.json()["results"]) == int((way == "p") == far.startswith("0001"))


@pytest.mark.parametrize("number", [-1, 2**31, 2**63, 1.5, True, None, "1", [1]])
def test_a_crafted_cursor_of_steps(number: Any) -> None:
    run = note.start()
    assert set(fields(boss().get(at("workflow-steps", run.id, cursor=cursor("n", number))))) == {"cursor"}


# ── filters ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_filter(workflow_harness: Harness) -> None:
    client = boss()
    waits, ended = waiting(workflow_harness, "pear"), finished(workflow_harness, "plum")
    labeled = inside.using(key="Kk", labels={"customer": 42, "Söme näme": "a b"}).start()
    assert ids(client, state="in_progress") == [str(labeled.id), str(waits.id)]
    assert ids(client, state="completed") == [str(ended.id)]
    assert ids(client, state="failed") == ids(client, state="canceled") == []
    assert ids(client, definition="rest.order") == [str(ended.id), str(waits.id)]
    assert ids(client, definition="rest.inside") == [str(labeled.id)]
    assert ids(client, key="Kk") == ids(client, key="Kk", definition="rest.inside") == [str(labeled.id)]
    assert ids(client, key="Kk", definition="rest.order") == []
    assert ids(client, **{"label.customer": "42"}) == [str(labeled.id)]
    assert ids(client, **{"label.Söme näme": "a b", "label.customer": "42"}) == [str(labeled.id)]
    assert ids(client, **{"label.customer": "43"}) == ids(client, **{"label.client": "42"}) == []
    assert ids(client, **{"label.customer": "42", "state": "completed"}) == []


@pytest.mark.parametrize(
    "query",
    [
        {"definition": "REST.INSIDE"},
        {"definition": "rest.inside "},
        {"definition": "rest.insidé"},
        {"key": "kK"},
        {"key": "Kk "},
        {"key": "Kk", "definition": "Rest.inside"},
        {"label.customer": "ANN"},
        {"label.Customer": "ann"},
        {"label.customer": "ann "},
    ],
)
def test_names_are_exact(query: dict[str, str]) -> None:
    inside.using(key="Kk", labels={"customer": "ann"}).start()
    assert ids(boss(), **query) == []


def test_created_between(workflow_harness: Harness) -> None:
    client, run = boss(), note.start()
    created = Workflow.objects.get().created_at
    before, after = created - timedelta(microseconds=1), created + timedelta(microseconds=1)
    here = [str(run.id)]
    assert ids(client, created_after=before.isoformat(), created_before=after.isoformat()) == here
    assert ids(client, created_after=created.isoformat()) == []
    assert ids(client, created_before=created.isoformat()) == []
    berlin = (timezone.now() + timedelta(hours=1)).astimezone(timezone.get_fixed_timezone(60)).isoformat()
    assert ids(client, created_before=berlin) == here


@pytest.mark.parametrize(
    "state", ["", "done", "COMPLETED", "completed ", "completed,failed", "\x00", "\ud800"]
)
def test_a_state_that_is_none(state: str) -> None:
    wrong = fields(boss().get(at("workflow-list") + "?state=" + quoted(state)))
    assert set(wrong) == {"state"}


@pytest.mark.parametrize(
    "moment",
    [
        "",
        "now",
        "2026-11-26",
        "2026-11-26T12:00:00",
        "2026-11-26T25:00:00Z",
        "2026-02-30T12:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "1764158400",
        "2026-11-26T12:00:00Z\x00",
        "\x00",
        "\ud800",
    ],
)
@pytest.mark.parametrize("name", ["created_after", "created_before"])
def test_a_time_that_is_none(name: str, moment: str) -> None:
    assert set(fields(boss().get(at("workflow-list") + f"?{name}=" + quoted(moment)))) == {name}


def quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


NAMES = [
    "State", "states", "id", "parent", "page", "offset", "limit", "ordering", "state__in", "definition__startswith",
    "created_at__gt", "label", "labels.a", "", "\x00", "\ud800", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_filter_is_told(name: str) -> None:
    response = boss().get(f"{at('workflow-list')}?{quoted(name)}=1")
    assert len(fields(response)) == 1


def test_all_that_is_wrong_is_told_at_once() -> None:
    query = {"state": "done", "created_after": "now", "sort": "x", "label.": "1", "label.a": "\x00"}
    response = boss().get(at("workflow-list", **query))
    assert set(fields(response)) == {"state", "created_after", "sort", "label.", "label.a"}


def test_a_filter_given_twice_is_no_filter() -> None:
    response = boss().get(f"{at('workflow-list')}?state=failed&state=completed&label.a=1&label.a=2")
    assert set(fields(response)) == {"state", "label.a"}


@pytest.mark.parametrize("name", ["definition", "key", "label.a", "label.\x00", "label.\ud800", "cursor"])
@pytest.mark.parametrize("value", ["\x00", "a\x00b", "\ud800", "\U0010ffff", "' OR 1=1 --", "%"])
def test_hostile_text_is_the_clients_mistake_or_finds_nothing(name: str, value: str) -> None:
    note.using(key="k", labels={"a": "b"}).start()
    response = boss().get(f"{at('workflow-list')}?{quoted(name)}={quoted(value)}")
    assert response.status_code in (200, 400)
    if response.status_code == 200:
        assert response.json()["results"] == []


@pytest.mark.parametrize("charset", ["utf-16", "utf-7", "latin-1", "raw_unicode_escape", "x"])
def test_a_charset_of_a_body_says_nothing_of_the_query(charset: str) -> None:
    run = note.start()
    content_type = f"application/json; charset={charset}"
    response = boss().generic(
        "GET", at("workflow-list", definition="rest.note"), "", content_type=content_type
    )
    assert [row["id"] for row in response.json()["results"]] == [str(run.id)]


def test_more_names_than_a_query_may_have() -> None:
    client = boss()
    many = "&".join(f"label.n{number}=1" for number in range(1100))
    problem(client.get(f"{at('workflow-list')}?{many}"), "bad-request")
    some = "&".join(f"label.n{number}=1" for number in range(51))
    assert set(fields(client.get(f"{at('workflow-list')}?{some}"))) == {"labels"}
