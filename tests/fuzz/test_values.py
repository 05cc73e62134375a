"""Any value that a start takes comes back as it was, from wherever it is shown; and a row with what no start would have
taken, which somebody has written by hand, breaks no list and no other workflow.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from hypothesis import example, given, seed
from hypothesis import strategies as st

from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.fuzz.definitions import breaks, keeps
from tests.fuzz.stage import ALL, BOSS, READER, credentials, make_users, times, undone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200 if ALL else 600)]

characters = st.characters(codec=None)  # halves of surrogate pairs and NUL, too
texts = st.text(characters, max_size=40) | st.sampled_from(
    ["", "\0", "\ud800", "\udfff\ud800", "\ufeff", "\u2028", "😀"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(1, 4_000).map(lambda digits: 10**digits - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308, 2**53 + 1, -(2**63) - 1])
    | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


def shown(value: Any) -> str:
    """As text that tells 1 from 1.0 and from True, and one order of keys from another."""
    return json.dumps(value)


def got(who: str, address: str) -> Any:
    response = Client(raise_request_exception=False, headers=credentials(who)).get(f"/api/{address}")
    assert response.status_code == 200, (address, response.content[:500])
    return json.loads(response.content)


def test_what_is_started_with_comes_back(workflow_harness: Harness) -> None:
    make_users()

    @seed(20261126)
    @times(25, 2_000)
    @example("x" * 260_000)
    @example(nested(60))
    @example({"": {"": [{"": ""}]}})
    @given(values)
    def ask(value: Any) -> None:
        body = {"definition": "fuzz.keeps", "args": {"value": value}}
        client = Client(raise_request_exception=False, headers=credentials(BOSS))
        with undone():
            response = client.post("/api/workflows/", body, content_type="application/json")
            assert response.status_code == 201, response.content[:500]
            workflow_harness.drain()
            _assert_shown(response.json()["id"], value)

    ask()


def _assert_shown(id: str, value: Any) -> None:
    whole = got(BOSS, f"workflows/{id}/")
    assert whole["state"] == "completed", whole["error"]
    assert shown(whole["args"]) == shown({"value": value})
    assert shown(whole["result"]) == shown(whole["custom"]) == shown(value)
    status = got(BOSS, f"workflows/{id}/status/")
    assert shown(status["result"]) == shown(status["custom"]) == shown(value)
    (step,) = got(BOSS, f"workflows/{id}/steps/")["results"]
    assert shown(step["result"]) == shown(value)
    for who in (BOSS, READER):
        assert [each["id"] for each in got(who, "workflows/")["results"]] == [id]


# ── rows that somebody has written by hand ────────────────────────────────────────────────────────────────────────

NASTY = {
    "empty": "",
    "cut": '{"a": [1, ',
    "word": "nul",
    "nan": '{"a": NaN}',
    "infinite": '{"a": [1e999, -1e999]}',
    "deep": "[" * 50_000 + "]" * 50_000,
    "deep objects": '{"a":' * 2_000 + "1" + "}" * 2_000,
    "deeper than ours": "[" * 200 + "]" * 200,
    "digits": "9" * 5_000,
    "surrogate": '{"\\ud800": "\\udfff"}',
    "zero": '{"a": "\\u0000"}',
    "twice": '{"a": 1, "a": 2}',
    "not ascii": '{"ключ": "é"}',
    "null": "null",
    "number": "5",
    "list": "[[], {}]",
    "text": '"text"',
    "object": '{"type": 1, "message": null, "traceback": [], "step": "x"}',
}
COLUMNS = [
    *(
        ("workflow", name)
        for name in ("args", "result", "error", "custom", "labels", "context", "on_complete_error")
    ),
    *(("step", name) for name in ("args", "result", "error")),
]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_poisoned_row_harms_nobody(table: str, column: str, workflow_harness: Harness) -> None:
    make_users()
    healthy, poisoned, failed = keeps.start("healthy"), keeps.start("poisoned"), breaks.start("poisoned")
    workflow_harness.drain()
    ids = sorted(str(run.id) for run in (healthy, poisoned, failed))
    before = got(BOSS, f"workflows/{healthy.id}/")
    for name, text in NASTY.items():
        with undone():
            for victim in (poisoned, failed):
                _write(table, column, victim, text)
            assert sorted(each["id"] for each in got(READER, "workflows/")["results"]) == ids, name
            victim = failed if column == "error" else poisoned
            for what in ("", "status/", "steps/"):
                assert got(BOSS, f"workflows/{victim.id}/{what}"), name
            assert got(BOSS, f"workflows/{healthy.id}/") == before, name


def _write(table: str, column: str, run: Workflow, text: str) -> None:
    key = "id" if table == "workflow" else "workflow_id"
    model = Workflow if table == "workflow" else Step
    id = Workflow._meta.pk.get_db_prep_value(run.id, connection)
    quoted = connection.ops.quote_name(column)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {model._meta.db_table} SET {quoted} = %s WHERE {key} = %s", [text, id])  # noqa: S608  names of ours
        assert cursor.rowcount >= 1
