"""The README and the pages of docs/ say what is so.

Each page's blocks marked `python` are one program, run here in an app of the tests; its functions `test_…` are
tests, and what the text says of the rest is checked below. Blocks marked `python fragment` are compiled only.
"""

import ast
import importlib
import re
import sys
import unittest
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, TestCase, override_settings

from django_workflow import Canceled, Completed, Failed, InProgress, exceptions, workflow
from django_workflow.checks.databases import connection_age, mysql_isolation, sqlite
from django_workflow.checks.queue import check_queue
from django_workflow.checks.source import inspect_handler
from django_workflow.conf import Settings, problems
from django_workflow.exceptions import DeterminismViolation
from django_workflow.handler import registry
from django_workflow.models import Workflow
from django_workflow.states import STEP_TRANSITIONS, WORKFLOW_TRANSITIONS
from django_workflow.testing import Harness
from tests.contracts import refused
from tests.contracts.markdown import (
    DOCS,
    PAGES,
    README,
    ROOT,
    Snippet,
    anchors,
    links,
    names,
    prose,
    snippets,
    table,
)
from tests.shop.workflows import echo

DOCS_FOLDER = ROOT / "docs"
PYTHON = [snippet for page in PAGES for snippet in snippets(page)]
LINKING = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]

LoadPage = Callable[[str], Any]


@pytest.fixture
def load_page(monkeypatch: pytest.MonkeyPatch) -> LoadPage:
    """`load_page("steps")` runs the page's program and returns its module, for the time of a test."""
    # Pages define what other pages define, too.
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_events", dict(registry._events))

    def load(stem: str) -> ModuleType:
        module = ModuleType(f"tests.shop.docs_{stem}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        for snippet in snippets(DOCS_FOLDER / f"{stem}.md"):
            if snippet.is_run:
                # Line numbers are the page's, so that tracebacks and `inspect` find the source there.
                source = "\n" * (snippet.line - 1) + snippet.text
                exec(compile(source, str(snippet.page), "exec"), module.__dict__)  # noqa: S102  our own pages
        return module

    return load


# ── what holds for all pages ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_a_snippet_compiles(snippet: Snippet) -> None:
    compile(snippet.text, str(snippet), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_a_snippet_imports_what_there_is(snippet: Snippet) -> None:
    for node in ast.walk(ast.parse(snippet.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{snippet}: {node.module} has no {alias.name}"


@pytest.mark.parametrize("snippet", [each for each in PYTHON if each.quoted_from], ids=str)
def test_a_quotation_equals_its_source(snippet: Snippet) -> None:
    assert f"\n\n{snippet.text}" in (ROOT / snippet.quoted_from).read_text()


def test_the_readme_quotes_the_whole_handler_of_the_example() -> None:
    quoted = "".join(snippet.text for snippet in snippets(README) if snippet.quoted_from)
    source = (ROOT / "example_project/documents/workflows.py").read_text()
    assert source[source.index("@workflow.define") :] in quoted


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_internal_links_resolve(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def test_every_page_is_linked_from_the_index_and_the_readme() -> None:
    pages = {page.name for page in DOCS}
    assert {*links(DOCS_FOLDER / "index.md"), "index.md"} >= pages
    assert {link.removeprefix("docs/") for link in links(README)} >= pages


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_a_page_begins_with_an_example_and_ends_with_gotchas(page: Path) -> None:
    assert re.match(r"# [^\n]+\n\n(?:[^\n]+\n\n)?```", page.read_text())
    assert re.findall(r"^## (.+)$", prose(page), re.MULTILINE)[-1] == "Gotchas"


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_handlers_of_the_docs_are_deterministic(page: Path, load_page: LoadPage) -> None:
    module = load_page(page.stem)
    own = [each for each in registry.definitions() if each.handler.__module__ == module.__name__]
    assert [finding for definition in own for finding in inspect_handler(definition.handler)] == []


# ── tests that stand on the pages ─────────────────────────────────────────────────────────────────────────────────


def _tests_of_the_pages() -> Iterator[Any]:
    for snippet in PYTHON:
        for node in ast.parse(snippet.text).body if snippet.is_run else []:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                transactional = any(argument.arg == "transactional_db" for argument in node.args.args)
                yield pytest.param(
                    snippet.page.stem,
                    node.name,
                    marks=pytest.mark.django_db(transaction=transactional),
                    id=f"{snippet.page.stem}-{node.name}",
                )


@pytest.mark.parametrize(("stem", "name"), list(_tests_of_the_pages()))
def test_a_test_on_a_page_passes(
    stem: str, name: str, load_page: LoadPage, request: pytest.FixtureRequest
) -> None:
    function = getattr(load_page(stem), name)
    wanted = function.__code__.co_varnames[: function.__code__.co_argcount]
    function(**{fixture: request.getfixturevalue(fixture) for fixture in wanted})


@pytest.mark.django_db
def test_a_test_case_on_a_page_passes(load_page: LoadPage) -> None:
    cases = [
        each
        for each in vars(load_page("testing")).values()
        if isinstance(each, type) and issubclass(each, TestCase) and each is not TestCase
    ]
    result = unittest.TestResult()
    unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromTestCase, cases)).run(result)
    assert result.testsRun == 1
    assert (result.errors, result.failures) == ([], [])


# ── what the pages say of their examples ──────────────────────────────────────────────────────────────────────────


def test_index(load_page: LoadPage, workflow_harness: Harness) -> None:
    assert workflow_harness.run(load_page("index").greeting, "Ann") == Completed("Hello, Ann")


def test_quickstart_shows_what_the_shell_shows(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("quickstart")
    page.sign_up("ann", "ann@example.com")
    workflow_harness.drain()
    run = workflow.list(page.onboarding).first()
    assert run is not None
    status = run.status()
    assert isinstance(status, InProgress)
    assert [(step.number, step.name) for step in status.running] == [(2, "sleep")]
    shown = [(step.number, step.name, str(step.state)) for step in run.steps()]
    assert f"# {shown}" in (DOCS_FOLDER / "quickstart.md").read_text()


def test_concepts_shows_the_journal(load_page: LoadPage, workflow_harness: Harness) -> None:
    run = load_page("concepts").booking.start(12)
    workflow_harness.drain()
    journal = [
        [
            str(step.number),
            step.kind,
            step.name,
            step.state,
            f"`{step.result_text}`" if step.result_text else "",
            str(step.seq or ""),
        ]
        for step in workflow_harness.journal(run)
    ]
    assert table(DOCS_FOLDER / "concepts.md", "Concepts") == journal


def test_determinism_is_equal_on_replay_and_versions_go_side_by_side(
    load_page: LoadPage, workflow_harness: Harness
) -> None:
    page = load_page("determinism")
    run = page.invoice.start()
    workflow_harness.drain()
    assert " is due on " in workflow_harness.result(run)
    workflow_harness.assert_replays(run)

    old, new = page.renewal_until_may.start(), page.renewal.start()
    assert workflow.start("shop.renewal").version == 2
    workflow_harness.drain()
    workflow_harness.advance(timedelta(days=200))
    assert isinstance(workflow.status(old), InProgress)
    assert workflow_harness.result(new) == "renewed for half a year"
    versions = workflow.list("shop.renewal", state="in_progress").values("version").distinct()
    assert list(versions.order_by()) == [{"version": 1}]
    workflow_harness.advance(timedelta(days=200))
    assert workflow_harness.result(old) == "renewed"


@override_settings(DJANGO_WORKFLOW={"CHECK_DETERMINISM": True})
def test_determinism_is_checked_at_the_first_run(workflow_harness: Harness) -> None:
    status = workflow_harness.run(refused.asks_anew)
    assert isinstance(status, Failed)
    assert status.error.type == exceptions.dotted_path(DeterminismViolation)


def test_every_refusal_that_the_page_names() -> None:
    rows = table(DOCS_FOLDER / "determinism.md", "What is refused, and how")
    assert [names(row[1]) for row in rows] == [
        ["DeterminismViolation"],
        ["NotDeterministic"],
        ["NotDeterministic"],
        ["WorkflowStuck"],
        ["NotDeterministic", "SynchronousOnlyOperation"],
        ["NotDeterministic"],
        ["manage.py check"],
    ]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("uses_a_thread", "NotDeterministic"),
        ("uses_the_orms_async_methods", "NotDeterministic"),
        ("waits_unordered", "NotDeterministic"),
        ("completes_unordered", "NotDeterministic"),
        ("waits_for_nothing", "WorkflowStuck"),
        ("uses_the_orm", "NotDeterministic"),
        ("connects", "NotDeterministic"),
    ],
)
@override_settings(DJANGO_WORKFLOW={"CHECK_DETERMINISM": True})
def test_a_handler_is_refused_as_the_page_says(name: str, error: str, workflow_harness: Harness) -> None:
    status = workflow_harness.run(getattr(refused, name))
    assert isinstance(status, Failed)
    assert status.error.type.rpartition(".")[2] == error


def test_steps(load_page: LoadPage, workflow_harness: Harness) -> None:
    page, user = load_page("steps"), User.objects.create_user("ann")
    assert workflow_harness.run(page.membership, user.pk, 100) == Completed(f"receipt {user.pk}")
    assert list(user.groups.values_list("name", flat=True)) == ["members"]
    assert workflow_harness.run(page.membership, user.pk, 20_000) == Completed("declined: over the limit")
    assert workflow_harness.run(page.download, "x") == Completed("contents of x")
    made = workflow_harness.run(page.offer, "ann")
    assert isinstance(made, Completed)
    assert (made.result.price, made.result.tags) == (Decimal("9.90"), ("new", "ann"))


def test_timers(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("timers")
    run = page.restock.start("tea")
    status = workflow_harness.run(page.restock, "tea")
    assert status == Completed("no answer within the hour")
    workflow_harness.drain()
    kinds = [(step.kind, step.name, step.state) for step in workflow_harness.journal(run)]
    assert kinds[2:] == [("sleep", "sleep", "completed"), ("action", "ask_supplier", "canceled")]


def test_events(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("events")
    yes, withdrawn = page.expense.start(1), page.expense.start(2)
    page.decide(str(yes.id), True, "Ann")
    workflow_harness.drain()
    for _ in range(2):
        page.withdraw(str(withdrawn.id))
    workflow_harness.drain()
    assert workflow_harness.result(yes) == "approved by Ann"
    assert workflow_harness.result(withdrawn) == "no decision: the expense was withdrawn"
    assert workflow_harness.run(page.expense, 3) == Completed("nobody decided within a week")

    paid = page.reminder.start(4)
    paid.send_event("paid")
    workflow_harness.drain()
    assert workflow_harness.result(paid) == "paid"
    assert workflow_harness.run(page.reminder, 5) == Completed("overdue")


def test_links(load_page: LoadPage, workflow_harness: Harness, client: Client) -> None:
    page = load_page("links")
    run = page.trip.start("Lisbon", "boss@example.com")
    workflow_harness.drain()
    (letter,) = mail.outbox
    address = str(letter.body).rpartition(page.SITE)[2]
    told = client.get(address).json()
    assert sorted(told) == ["definition", "event", "expires_at", "used", "value_schema"]
    sent = client.post(address, {"value": True}, "application/json")
    assert sent.content.decode() in (DOCS_FOLDER / "links.md").read_text()
    assert client.post(address, {"value": False}, "application/json").status_code == 202
    workflow_harness.drain()
    assert workflow_harness.result(run) == "approved"
    assert workflow_harness.run(page.trip, "Porto", "boss@example.com") == Completed("nobody decided")
    assert client.get(str(mail.outbox[1].body).rpartition(page.SITE)[2]).status_code == 404


def test_children(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("children")
    delivered = workflow_harness.run(page.delivery, ["tea", "salt"])
    assert delivered == Completed(["tea reserved", "salt reserved"])
    assert isinstance(workflow_harness.run(page.delivery, ["tea", "moon dust"]), Failed)
    careful = workflow_harness.run(page.careful_delivery, "moon dust")
    assert careful == Completed("not delivered: moon dust")
    assert workflow_harness.run(page.impatient, "tea") == Completed("gave up")
    assert workflow_harness.run(page.later, "salt") == Completed("salt reserved")
    child = Workflow.objects.labeled({"item": "salt"}).get()
    assert child.parent is not None
    assert (child.priority, child.parent.definition) == (5, "shop.later")


def test_parallelism(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("parallelism")
    assert workflow_harness.run(page.cheapest, ["market", "shop", "fair trade"]) == Completed("shop")
    status = workflow_harness.run(page.ship, 7, ["a", "b", "c"])
    assert status == Completed(["label 7", "a packed", "b packed", "c packed"])


def test_sagas(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("sagas")
    failed = workflow_harness.run(page.travel, "Lisbon")
    assert isinstance(failed, Failed)
    assert failed.error.type.endswith(".NoSeats")
    assert page.booked == []

    run = page.travel.start("Porto")
    workflow_harness.drain()
    assert page.booked == ["hotel Porto", "train Porto"]
    assert page.call_off(str(run.id))
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert status.canceling
    workflow_harness.drain()
    assert workflow.status(run) == Canceled("the customer called")
    assert page.booked == []
    names = [step.name for step in workflow_harness.journal(run) if step.kind == "rollback"]
    assert names == ["cancel_train", "cancel_hotel"]


@pytest.mark.django_db(transaction=True)
def test_endings(load_page: LoadPage, workflow_harness: Harness) -> None:
    page, user = load_page("endings"), User.objects.create_user("ann")

    def told() -> str:
        workflow_harness.drain()
        user.refresh_from_db()
        return user.first_name

    run = page.offer(user, 7)
    workflow.send_event(run, "signed", True)
    assert told() == "has contract 7"
    workflow.send_event(page.offer(user, 8), "signed", False)
    assert told() == "no contract: not signed"
    workflow.cancel(page.offer(user, 9), "changed her mind")
    assert told() == "called off: changed her mind"
    late = page.offer(user, 10)
    workflow_harness.drain()
    workflow_harness.advance(timedelta(days=30))
    assert told() == f"no contract: workflow {late.id} did not end within its timeout of 30 days, 0:00:00"
    assert len(page.alarms) == 2
    assert "not signed" in page.alarms[0]


def test_managing(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("managing")
    run = page.monthly_report.start("sales")
    workflow_harness.drain()
    assert page.describe(run.id) == "waits for ['sleep'], {'done': 0, 'of': 1}"
    workflow_harness.advance(timedelta(hours=1))
    assert page.describe(run.id) == "done: sales.pdf"

    page.order_reports()
    starts = {each.args["report"]: each for each in Workflow.objects.in_progress().of(page.monthly_report)}
    assert starts["urgent"].priority == 5
    assert str(starts["taxes"].due_at) == "2031-01-01 00:00:00+00:00"
    assert workflow.cancel(starts["sales"], "not needed")
    assert page.describe(starts["sales"].id) == "canceled: not needed"
    assert page.yearly_report.start("all").cluster == "reports"


def test_restarting(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("restarting")
    run = page.delivery.start(7, "ann")
    workflow_harness.drain()
    assert isinstance(workflow.status(run), Failed)
    page.charge_again(run.id)
    workflow_harness.drain()
    assert workflow_harness.result(run) == ["parcel 7", "receipt for ann"]
    assert [step.attempts for step in workflow_harness.journal(run)] == [1, 1]
    fork = page.what_if(run.id)
    workflow_harness.drain()
    assert workflow_harness.result(fork) == ["parcel 7", "receipt for ann"]

    watching = page.watch.start("bob")
    for order in range(31):
        workflow.send_event(watching, "order_sent", order)
    workflow_harness.drain()
    assert Workflow.objects.get(id=watching.id).args == {"customer": "bob", "days": 30}
    assert [step.name for step in workflow_harness.journal(watching)] == [
        "order_sent",
        "delivery",
        "order_sent",
    ]


def test_code_changes(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("code_changes")
    run = page.membership.start("ann")
    workflow_harness.drain()
    assert page.what_would_break() == []
    assert page.on_the_old_path().get().id == run.id
    workflow_harness.advance(timedelta(days=300))
    assert not page.on_the_old_path().exists()
    assert [step.kind for step in workflow_harness.journal(run)] == ["sleep", "marker", "action", "sleep"]
    Workflow.objects.filter(id=run.id).update(paused="its code doesn't fit", due_at=None)
    workflow_harness.advance(timedelta(days=65))
    assert isinstance(workflow.status(run), InProgress)
    assert page.go_on() == 1
    workflow_harness.drain()
    assert workflow_harness.result(run) == "ann has left"
    assert [workflow.start("shop.trial").version, page.trial_of_a_month.start().version] == [2, 1]


class Cipher:
    """What the page takes from a package."""

    def encrypt(self, plain: bytes) -> bytes:
        return plain.hex().encode()

    def decrypt(self, sealed: bytes) -> bytes:
        return bytes.fromhex(sealed.decode())


def test_settings_shows_a_codec_that_seals(load_page: LoadPage, workflow_harness: Harness) -> None:
    path = f"{load_page('settings').__name__}.Encrypted"
    with override_settings(CIPHER=Cipher(), DJANGO_WORKFLOW={"CODEC": path}):
        assert workflow_harness.run(echo, "a secret") == Completed("a secret")
        assert Workflow.objects.get().args == {"value": "a secret"}
    with pytest.raises(ImproperlyConfigured):
        Workflow.objects.get()


def test_starting(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("starting")
    page.order_shipped(7, customer=42)
    page.order_shipped(7, customer=42)
    assert page.letters_to(42) == 1
    assert page.charge_again_and_again(8)
    page.plan()
    assert page.remind([1, 2, 3]) == 3
    reminders = workflow.list(page.follow_up, labels={"batch": "spring"})
    assert {each.args["what"] for each in reminders} == {"a reminder"}
    assert page.answer_quickly(9) == "in_progress"  # no commit yet: the test's transaction is around it
    workflow_harness.advance(timedelta(days=14))
    assert workflow_harness.result(workflow.list(labels={"customer": 42}).get()) == "a letter for order 7"
    assert workflow.list(page.follow_up, state="in_progress").get().args["order_id"] == 1  # in 2031


def test_pools(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("pools")
    page.begin_maintenance()
    runs = [page.report.start("sales"), page.invoice.start("taxes")]
    assert workflow_harness.drain() == 0
    status = workflow.status(runs[0])
    assert isinstance(status, InProgress)
    assert status.paused == "the payment provider is down"
    page.end_maintenance()
    workflow_harness.drain()
    assert [workflow_harness.result(run) for run in runs] == ["sales.pdf", "taxes.pdf"]
    assert [run.cluster for run in runs] == ["reports", ""]
    assert workflow_harness.journal(runs[1])[0].cluster == "reports"


def test_operating_tells_work_that_nobody_takes_from_work_under_way(
    load_page: LoadPage, workflow_harness: Harness
) -> None:
    page = load_page("operating")
    sleeping = load_page("timers").restock
    assert page.is_healthy()
    sleeping.start("tea")
    workflow_harness.drain()
    assert page.is_healthy()

    left = sleeping.start("tea")
    assert page.is_healthy()
    Workflow.objects.filter(id=left.id).update(due_at=page.timezone.now() - timedelta(minutes=2))
    assert not page.is_healthy()


def test_admin(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("admin")
    operator = User.objects.create_user("operator", is_staff=True)
    operator.groups.add(page.make_operators())
    assert operator.has_perms([f"django_workflow.{verb}_workflow" for verb in ("view", "cancel", "restart")])
    assert not operator.has_perm("django_workflow.view_payload")
    assert page.complaints() == ["no ticker leads: is a cluster running?"]


def test_rest(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("rest")
    ann, bob = (User.objects.create_superuser(name) for name in ("ann", "bob"))
    client = Client()

    def listed() -> list[str]:
        return [row["id"] for row in client.get("/api/workflows/").json()["results"]]

    client.force_login(ann)
    told: dict[str, Any] = {}
    for key, urlpatterns in (("sales", page.urlpatterns), ("sales-2026", page.tenant_urlpatterns)):
        with override_settings(ROOT_URLCONF=type("Addresses", (), {"urlpatterns": urlpatterns})):
            body = {"definition": "reports.print", "args": {"name": "sales"}, "key": key}
            started = client.post("/api/workflows/", body, content_type="application/json")
            assert started.status_code == 201
            workflow_harness.drain()
            told = client.get(f"{started.headers['Location']}status/?wait=30").json()
            assert (told["type"], told["result"]) == ("completed", ["sales.pdf"])
    with override_settings(ROOT_URLCONF=type("Addresses", (), {"urlpatterns": page.tenant_urlpatterns})):
        assert listed() == [told["id"]]
        client.force_login(bob)
        assert listed() == []


def test_errors(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("errors")
    status = workflow_harness.run(page.split, 100, 0)
    assert isinstance(status, Completed)
    assert status.result.startswith("step 1 (divide) failed after 1 attempt: ZeroDivisionError")
    told = page.try_to_start()
    assert all(name in told for name in ("cents", "people", "guests"))


@pytest.mark.django_db(transaction=True)
def test_design(load_page: LoadPage, workflow_harness: Harness) -> None:
    page = load_page("design")
    page.order(3)
    workflow_harness.drain()
    assert workflow.list(page.booking_of).get().result == 3


# ── tables, trees and diagrams that repeat the code ───────────────────────────────────────────────────────────────


def test_the_diagrams_are_the_transition_tables() -> None:
    workflows, steps = snippets(DOCS_FOLDER / "concepts.md", "mermaid")
    assert _edges(workflows) == {
        (str(state), edge, str(to)) for (state, edge), to in WORKFLOW_TRANSITIONS.items()
    }
    assert _edges(steps) == {(str(state), edge, str(to)) for (state, edge), to in STEP_TRANSITIONS.items()}


def _edges(diagram: Snippet) -> set[tuple[str, str, str]]:
    found = re.findall(r"^ *(\w+) --> (\w+): (\w+)$", diagram.text, re.MULTILINE)
    return {(state, edge, to) for state, to, edge in found}


def test_the_settings_page_has_the_keys_that_act_with_their_defaults() -> None:
    rows = {names(row[0])[0]: names(row[1])[0] for row in table(DOCS_FOLDER / "settings.md", "Settings")}
    acting = {
        match
        for file in (ROOT / "django_workflow").rglob("*.py")
        if file.name != "conf.py"
        for match in re.findall(r"\bsettings\.([A-Z_]{2,})\b", file.read_text())
    }
    assert set(rows) == acting
    made = {"CHECK_DETERMINISM": "DEBUG", "RETRY": "Retry()"}  # defaults that are made, not constant
    defaults = {key: repr(getattr(Settings, key)) for key in rows if key not in made}
    assert rows == {**defaults, **made}


def test_the_settings_page_names_the_keys_that_do_not_act_yet() -> None:
    text = (DOCS_FOLDER / "settings.md").read_text()
    named = set(re.findall(r"`([A-Z][A-Z_]+)`", text)) - {"DEBUG", "Q_CLUSTER"}
    assert named == set(Settings.__dataclass_fields__)


def test_the_errors_page_draws_the_tree_of_the_code() -> None:
    tree = snippets(DOCS_FOLDER / "errors.md", "text")[0].text
    assert _parents(tree) == {
        name: each.__base__ if each.__base__ is BaseException else each.__mro__[_first_public(each)]
        for name, each in vars(exceptions).items()
        if isinstance(each, type) and issubclass(each, BaseException) and _is_public(each)
    }


def _is_public(error: type) -> bool:
    return error.__module__ == exceptions.__name__ and not error.__name__.startswith(("_", "Remote"))


def _first_public(error: type) -> int:
    """Where in its order of resolution the first base is that the tree shows."""
    shown = [
        index
        for index, base in enumerate(error.__mro__)
        if index and (_is_public(base) or base in (Exception, BaseException))
    ]
    return shown[0]


def _parents(tree: str) -> dict[str, type]:
    """Name → base, as the lines of a drawn tree are indented."""
    open_branches: dict[int, type] = {}
    parents: dict[str, type] = {}
    for line in filter(None, tree.splitlines()):
        drawn = re.match(r"(?P<indent>[│├└─ ]*)(?P<name>\w+)", line)
        assert drawn is not None
        depth, name = len(drawn["indent"]) // 4, drawn["name"]
        here = {"Exception": Exception, "BaseException": BaseException}.get(name) or getattr(exceptions, name)
        open_branches[depth] = here
        if depth:
            parents[name] = open_branches[depth - 1]
    return parents


@pytest.mark.parametrize(("heading", "letter", "last"), [("Promises", "P", 13), ("The protocol", "R", 31)])
def test_design_has_every_number_and_names_files_and_functions_that_exist(
    heading: str, letter: str, last: int
) -> None:
    rows = table(DOCS_FOLDER / "design.md", heading)
    assert [row[0] for row in rows] == [f"**{letter}{number}**" for number in range(1, last + 1)]
    for row in rows:
        for files in row[2].split("), "):
            _assert_files_exist(files)


def _assert_files_exist(cell: str) -> None:
    """`file`, or `file` (`function`, `function`), or several of these."""
    file = Path()
    for name in names(cell):
        if name.endswith(".py"):
            file = ROOT / "django_workflow" / name
            assert file.is_file(), f"design.md names {name}"
        else:
            assert re.search(rf"(?:def|class) {name}\b", file.read_text()), f"{file.name} has no {name}"


def test_design_names_folders_of_tests_that_exist() -> None:
    for folder in set(re.findall(r"`(tests/\w+)/`", (DOCS_FOLDER / "design.md").read_text())):
        assert list((ROOT / folder).glob("test_*.py")), f"{folder} has no tests"


def test_every_number_that_the_code_cites_is_explained() -> None:
    cited = {
        number
        for file in (ROOT / "django_workflow").rglob("*.py")
        for number in re.findall(r"\b[PR]\d{1,2}\b", file.read_text())
    }
    design = (DOCS_FOLDER / "design.md").read_text()
    assert {number for number in cited if f"**{number}**" not in design} == set()


# ── settings that the pages recommend ─────────────────────────────────────────────────────────────────────────────


def _assignments(page: Path) -> Iterator[dict[str, Any]]:
    """What each block of settings on a page assigns."""
    for snippet in snippets(page):
        if snippet.info == "python fragment" and re.search(r"^[A-Z_]+ = ", snippet.text, re.MULTILINE):
            values: dict[str, Any] = {"BASE_DIR": ROOT / "nowhere"}
            exec(snippet.text, values)  # noqa: S102  our own pages
            yield values


def test_readme_and_quickstart_recommend_the_same() -> None:
    readme, quickstart = (
        next(snippet.text for snippet in snippets(page) if "Q_CLUSTER = " in snippet.text)
        for page in (README, DOCS_FOLDER / "quickstart.md")
    )
    assert readme == quickstart


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_recommended_settings_pass_our_own_checks(page: Path) -> None:
    for values in _assignments(page):
        with override_settings(
            **{key: values[key] for key in ("Q_CLUSTER", "DJANGO_WORKFLOW") if key in values}
        ):
            assert problems() == []
            assert [message for message in check_queue() if "Q_CLUSTER" in values] == []
        for options in values.get("DATABASES", {}).values():
            match options["ENGINE"].rpartition(".")[2]:
                case "sqlite3":
                    assert list(sqlite("default", options)) == []
                case "mysql":
                    assert list(mysql_isolation("default", options)) == []
                    assert list(connection_age("default", options)) == []
                case _:
                    assert list(connection_age("default", options)) == []


def test_tests_that_are_named_exist() -> None:
    named = [
        (page.name, *found)
        for page in DOCS
        for found in re.findall(r"`((?:tests|example_project)/[\w/]+\.py)::(\w+)`", page.read_text())
    ]
    assert len(named) > 20
    missing = [each for each in named if f"def {each[2]}(" not in _read(each[1])]
    assert missing == []


def _read(path: str) -> str:
    return (ROOT / path).read_text() if (ROOT / path).exists() else ""
