"""What a shell sees: exit codes, one JSON document on standard output, and never a traceback for a client's mistake."""

from uuid import uuid4

import pytest

from django_workflow import workflow
from django_workflow.management.exits import EPILOG, MEANING
from tests.commands.console import ROOT, manage_for_real
from tests.contracts.markdown import table

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["workflow", "list"], 0),
        (["workflow", "health"], 1),
        (["workflow", "resume"], 1),
        (["workflow"], 2),
        (["workflow", "explode"], 2),
        (["workflow", "start", "shop.echo", "--run-after", "30"], 2),
        (["workflow", "start", "shop.echo", "--arg", "value=1", "--arg", "value=2"], 2),
        (["workflow_prune"], 2),
        (["workflow_prune", "--older-than", "30"], 2),
        (["workflow", "status", "nonsense"], 3),
        (["workflow", "start", "os.system", "ls"], 3),
        (["workflow", "start", "shop.echo"], 5),
        (["workflow", "start", "shop.echo", "1", "--wait", "0"], 6),
        (["workflow_prune", "--older-than", "30d"], 0),
    ],
    ids=str,
)
def test_an_exit_code(args: list[str], code: int) -> None:
    answer = manage_for_real(*args)
    assert answer.code == code, answer.err
    assert "Traceback" not in answer.err
    assert bool(answer.err) == (code != 0) or "[Q]" in answer.err


def test_a_workflow_from_its_start_to_its_cleanup() -> None:
    given = '{"value": {"password": "hidden", "text": "\\u001b[31m"}}'
    started = manage_for_real("workflow", "start", "shop.echo", "--args", "-", "--json", stdin=given)
    assert started.code == 0
    assert started.document["arguments"] == {"value": {"password": "********", "text": "\x1b[31m"}}
    assert "\x1b" not in started.out
    id = started.document["id"]
    assert workflow.get(id).args["value"]["password"] == "hidden"
    assert manage_for_real("workflow", "cleanup", id).code == 4
    assert manage_for_real("workflow", "cancel", id, uuid4()).code == 3
    assert manage_for_real("workflow", "status", id, "--no-color").code == 1
    assert manage_for_real("workflow", "cleanup", id, "--json").document["results"][0]["done"] is True


def test_help_lists_the_verbs_and_the_exit_codes() -> None:
    for args in (["workflow", "--help"], ["workflow", "cancel", "--help"], ["workflow_prune", "--help"]):
        answer = manage_for_real(*args)
        assert answer.code == 0
        assert EPILOG in answer.out


def test_a_stream_that_knows_no_unicode_gets_escapes() -> None:
    workflow.start("shop.echo", "日本")
    answer = manage_for_real(
        "workflow", "status", workflow.list()[0].pk, PYTHONIOENCODING="ascii", COLUMNS="60"
    )
    assert answer.code == 0
    assert "\\u65e5" in answer.out


def test_a_missing_table_is_no_mistake_of_the_client(tmp_path: object) -> None:
    answer = manage_for_real("workflow", "list", DATABASE="sqlite", DATABASE_NAME=f"{tmp_path}/empty.sqlite3")
    assert answer.code not in MEANING or answer.code == 1
    assert "no such table" in answer.err
    assert "Traceback" in answer.err


def test_the_page_says_the_same_codes() -> None:
    rows = table(ROOT / "docs" / "command-line.md", "Exit codes")
    assert {int(row[0]): row[1] for row in rows} == {code.value: said for code, said in MEANING.items()}
