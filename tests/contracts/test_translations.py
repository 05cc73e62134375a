"""The catalogs of translations: whole, compiled, and of exactly the texts that the package marks.

What is marked is found without gettext's tools: in Python by its syntax tree, in templates as Django itself does it.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import polib
import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client, override_settings
from django.urls import reverse
from django.utils.translation import get_language, override
from django.utils.translation.template import templatize

from django_workflow.admin.refusals import worded
from django_workflow.exceptions import (
    DjangoWorkflowError,
    InvalidArguments,
    InvalidDefinition,
    KeyConflict,
    LimitReached,
    NotReadable,
    NotStorable,
    PayloadTooLarge,
    StepNotFound,
    UnknownDefinition,
    UsageError,
    WorkflowFinished,
    WorkflowInProgress,
)
from django_workflow.manager import workflow
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.admin.stage import (
    DETAIL,
    LIST,
    client_of,
    everything,
    failed,
    faults,
    finished,
    inner,
    page,
    user,
    waiting,
)
from tests.contracts.markdown import ROOT

PACKAGE: Final = ROOT / "django_workflow"
SOURCES: Final = tuple(sorted(PACKAGE.rglob("*.py")))
TEMPLATES: Final = tuple(sorted((PACKAGE / "templates").rglob("*.html")))
LANGUAGES: Final = tuple(sorted(folder.name for folder in (PACKAGE / "locale").iterdir()))

# A message: its context, its text, and its text for several; "" where there is none.
Message = tuple[str, str, str]

MODULE: Final = "django.utils.translation"
PARTS: Final = {  # which of a message each argument is
    "gettext": ("text",),
    "gettext_noop": ("text",),
    "ngettext": ("text", "plural"),
    "pgettext": ("context", "text"),
    "npgettext": ("context", "text", "plural"),
}
QUOTED: Final = r"""u?(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")"""
CALL: Final = re.compile(rf"\b(_|{'|'.join(PARTS)})\(({QUOTED}(?:, {QUOTED})*)")
PLACEHOLDER: Final = re.compile(r"%\(\w+\)[a-z]|%[a-z]|%%")

VISIBLE_ATTRIBUTE: Final = re.compile(r'\b(?:aria-label|alt|placeholder|title)="([^"]*)"')
NO_TEXT: Final = re.compile(
    r"""\{%\s*block\ bodyclass\s*%\}.*?\{%\s*endblock\s*%\}
    | \{%\s*comment\s*%\}.*?\{%\s*endcomment\s*%\}
    | \{%\s*blocktranslate\b.*?\{%\s*endblocktranslate\s*%\}
    | \{\#.*?\#\} | \{%.*?%\} | \{\{.*?\}\}""",
    re.VERBOSE | re.DOTALL,
)


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    yield
    faults.clear()


def catalog(language: str, kind: str = "po") -> Any:
    """The entries of a catalog, by message."""
    file = PACKAGE / "locale" / language / "LC_MESSAGES" / f"django.{kind}"
    entries = polib.pofile(str(file)) if kind == "po" else polib.mofile(str(file))
    found = {(entry.msgctxt or "", entry.msgid, entry.msgid_plural or ""): entry for entry in entries}
    assert len(found) == len(entries)
    return found


def texts(entry: Any) -> list[str]:
    """What an entry is translated by."""
    return [entry.msgstr_plural[form] for form in sorted(entry.msgstr_plural)] or [entry.msgstr]


def message(function: str, args: Iterable[str]) -> Message:
    """What a call marks."""
    said = dict(zip(PARTS[function], args, strict=False))
    return said.get("context", ""), said["text"], said.get("plural", "")


def marked_in_python(file: Path) -> Iterator[Message]:
    """What calls of Django's functions mark, by whatever name they are imported."""
    tree = ast.parse(file.read_text())
    names = {
        each.asname or each.name: each.name.removesuffix("_lazy")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == MODULE
        for each in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        function = names.get(node.func.id, "")
        if function not in PARTS:
            continue
        given = node.args[: len(PARTS[function])]
        literal = [str(each.value) for each in given if isinstance(each, ast.Constant)]
        if len(literal) == len(given):
            yield message(function, literal)
        else:
            assert file.name == "models.py", f"{file}:{node.lineno} marks what no tool can find"


def marked_in_template(file: Path) -> Iterator[Message]:
    """What the tags of a template mark."""
    for function, args in CALL.findall(templatize(file.read_text(), origin=str(file))):
        said = ast.literal_eval(f"({args},)")
        yield message("gettext" if function == "_" else function, said)


def marked() -> set[Message]:
    """What the package marks."""
    return {
        *(each for file in SOURCES for each in marked_in_python(file)),
        *(each for file in TEMPLATES for each in marked_in_template(file)),
    }


def test_there_are_german_and_dutch() -> None:
    assert LANGUAGES == ("de", "nl")


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_marked_is_in_the_catalog_and_nothing_else(language: str) -> None:
    known, wanted = set(catalog(language)), marked()
    assert len(wanted) > 250
    assert wanted - known == set(), "run `make messages`, and translate what is new"
    assert known - wanted == set(), "run `make messages`"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_is_translated(language: str) -> None:
    for (_context, text, plural), entry in catalog(language).items():
        assert not entry.fuzzy, text
        assert not entry.obsolete, text
        assert len(texts(entry)) == (2 if plural else 1), text
        assert all(each.strip() for each in texts(entry)), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_placeholders_and_tags_are_those_of_the_original(language: str) -> None:
    for (_context, text, plural), entry in catalog(language).items():
        for original, translated in zip([text, plural] if plural else [text], texts(entry), strict=True):
            for pattern in (PLACEHOLDER, re.compile(r"<[^ ][^>]*>")):
                assert sorted(pattern.findall(translated)) == sorted(pattern.findall(original)), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_compiled_is_what_is_written(language: str) -> None:
    compiled = {key: texts(entry) for key, entry in catalog(language, "mo").items()}
    assert compiled == {key: texts(entry) for key, entry in catalog(language).items()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_djangos_admin_says_too_is_said_the_same(language: str) -> None:
    # Of one text in two catalogs the app decides that comes first in INSTALLED_APPS: no page may depend on that.
    theirs = polib.mofile(f"{Path(admin.__file__).parent}/locale/{language}/LC_MESSAGES/django.mo")
    said = {("", entry.msgid, entry.msgid_plural): texts(entry) for entry in theirs if not entry.msgctxt}
    ours = {key: texts(entry) for key, entry in catalog(language).items() if key in said}
    assert ours == {key: said[key] for key in ours}
    assert ("", "Home", "") in ours


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_header_tells_no_machine_and_no_moment(language: str) -> None:
    header = polib.pofile(str(PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po")).metadata
    assert header["Language"] == language
    assert (
        header["Plural-Forms"] == "nplurals=2; plural=(n != 1);"
    )  # as Django's own, so that they are merged
    assert not {"POT-Creation-Date", "PO-Revision-Date", "Last-Translator"} & set(header)


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_a_template_has_no_text_that_is_not_marked(file: Path) -> None:
    source = NO_TEXT.sub(" ", file.read_text())
    shown = [re.sub(r"<[^>]*>|&\w+;", " ", source), *VISIBLE_ATTRIBUTE.findall(source)]
    words = [word for text in shown for word in re.findall(r"[^\W\d_]+", text)]
    assert set(words) <= {"v", "JSON"}  # before a version; the same everywhere


def choices(model: Any, column: str) -> list[tuple[str, Any]]:
    """Values of a column, and their labels."""
    return list(model._meta.get_field(column).flatchoices)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_and_kind_has_its_word(language: str) -> None:
    known = catalog(language)
    for model, column in ((Workflow, "state"), (Workflow, "ending"), (Step, "state"), (Step, "kind")):
        for value, label in choices(model, column):
            said = value.replace("_", " ")
            with override(language):
                assert str(label) == known["", said, ""].msgstr
            with override(None):
                assert str(label) == said


def test_names_of_the_app_and_the_model_are_translated() -> None:
    names = Workflow._meta
    with override("de"):
        said = (names.verbose_name, names.verbose_name_plural)
        assert [str(each) for each in said] == ["Workflow", "Workflows"]
        assert str(apps.get_app_config("django_workflow").verbose_name) == "Workflows"
    assert names.verbose_name_raw == "workflow"  # in the names of permissions


# ── over HTTP ───────────────────────────────────────────────────────────────────────────────────────────────────

SAID: Final = {
    "de": {
        "list": ("Systemstatus", "wartet auf Ereignis „verbs.approved“ seit", "Nach Status", "gerade eben"),
        "detail": ("Zeitachse", "abgeschlossen", "3 Schritte, in der Reihenfolge", "1 Kind", "Argumente"),
        "verb": (
            "Diesen Workflow neu starten?",
            "Schritt 4 (",
            "(Aktion, fehlgeschlagen)",
            "Ja, neu starten",
        ),
    },
    "nl": {
        "list": ("Systeemstatus", "wacht op gebeurtenis “verbs.approved” sinds", "Op toestand", "zojuist"),
        "detail": ("Tijdlijn", "voltooid", "3 stappen, in de volgorde", "1 kind", "Argumenten"),
        "verb": ("Deze workflow herstarten?", "stap 4 (", "(actie, mislukt)", "Ja, herstarten"),
    },
}
ENGLISH: Final = {
    "list": ("Health", "waiting", "Needs attention", "just now", "Definitions"),
    "detail": ("Timeline", "completed<", "in the order", "Arguments", "Started"),
    "verb": ("Restart", "restart this", "step 4 (", "What happens", "Reason"),
}


@pytest.fixture
def browser(settings: Any, db: None) -> Iterator[Client]:
    """A superuser's, on a site that speaks the reader's language."""
    first, *others = settings.MIDDLEWARE
    settings.MIDDLEWARE = [first, "django.middleware.locale.LocaleMiddleware", *others]
    who = user("reader")
    who.is_superuser = True
    who.save()
    # The test client answers in this thread, and the middleware leaves the thread in the reader's language.
    with override(get_language()):
        yield client_of(who)


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_come_out_in_the_readers_language(
    browser: Client, workflow_harness: Harness, language: str
) -> None:
    workflow_harness.freeze(workflow_harness.now())  # "just now", however long the pages take
    run = waiting(workflow_harness)
    pages = {
        "list": reverse(LIST),
        "detail": reverse(DETAIL, args=[run.pk]),
        "verb": page("restart", failed(workflow_harness, "pear")),
    }
    for name, address in pages.items():
        answer = browser.get(address, headers={"accept-language": language})
        shown = answer.content.decode()
        assert answer.headers["Content-Language"] == language
        assert [text for text in SAID[language][name] if text not in shown] == []
        visible = re.sub(r"<[^>]*>", "<", shown)
        for definition in workflow.definitions():  # its filter lists those of other tests, too
            visible = visible.replace(definition.name, "")
        assert [text for text in ENGLISH[name] if text in visible] == []


def test_without_a_language_they_come_out_in_english(browser: Client, workflow_harness: Harness) -> None:
    waiting(workflow_harness)
    shown = browser.get(reverse(LIST), headers={"accept-language": "xx"}).content.decode()
    assert "Health: " in shown
    assert "waiting for event &quot;verbs.approved&quot; since" in shown


# ── what the manager refuses ────────────────────────────────────────────────────────────────────────────────────

# What is asked for, and how its refusal begins.
REFUSED: Final = {
    "restart from a step that isn't there": (
        "Diesen Schritt gibt es in seinem Journal nicht.",
        "Die stap staat niet in zijn journaal.",
    ),
    "event for what has finished": (
        "Er ist beendet und nimmt nichts mehr an.",
        "Hij is beëindigd en neemt niets meer aan.",
    ),
    "clean up what is in progress": (
        "Er läuft noch: Warten Sie, bis er beendet ist",
        "Hij loopt nog: wacht tot hij beëindigd is",
    ),
    "clean up with a child in progress": ("Der von ihm gestartete Workflow ", "Workflow "),
    "event of another type": ("Das passt nicht: value.weight: ", "Dit past niet: value.weight: "),
    "event that can't be stored": (
        "Dieser Wert kann nicht gespeichert werden, bei $.value",
        "Deze waarde kan niet worden opgeslagen, bij $.value",
    ),
    "event that is too large": (
        "mehr als die Grenze von 2.000 Bytes. Legen Sie ihn in einer Datei",
        "meer dan de grens van 2.000 bytes. Bewaar die in een bestand",
    ),
    "one event too many": (
        "Eine Grenze ist erreicht: PENDING_EVENT_LIMIT = 2.",
        "Er is een grens bereikt: PENDING_EVENT_LIMIT = 2.",
    ),
    "start with a key that is taken": (
        "Der Schlüssel „taken“ gehört zum Workflow ",
        "De sleutel “taken” hoort bij workflow ",
    ),
    "start with labels that are none": (
        "Das passt nicht: labels[&#x27;a&#x27;]: ",
        "Dit past niet: labels[&#x27;a&#x27;]: ",
    ),
    "restart many from a step that isn't there": (
        "Diesen Schritt gibt es in seinem Journal nicht.",
        "Die stap staat niet in zijn journaal.",
    ),
}


def asked(what: str, harness: Harness) -> tuple[str, dict[str, Any]]:
    """An address and what is sent there, to be refused."""
    start = f"{page('start')}?name=verbs.inner&version=1"
    match what:
        case "restart from a step that isn't there":
            return page("restart", failed(harness)), {"from_step": "99"}
        case "event for what has finished":
            return page("event", finished(harness)), {"name": "verbs.approved", "value": "true"}
        case "clean up what is in progress":
            return page("cleanup", waiting(harness)), {}
        case "clean up with a child in progress":
            run = finished(harness)
            Workflow.objects.filter(parent=run).update(state="in_progress")
            return page("cleanup", run), {}
        case "event of another type":
            return page("event", waiting(harness)), {"name": "verbs.parcel", "value": "{}"}
        case "event that can't be stored":
            return page("event", waiting(harness)), {"name": "verbs.untyped", "value": "[" * 90 + "]" * 90}
        case "event that is too large":
            return page("event", waiting(harness)), {"name": "verbs.text", "value": "x" * 3000}
        case "one event too many":
            run = waiting(harness)
            for name in ("verbs.one", "verbs.two"):
                run.send_event(name)
            return page("event", run), {"name": "verbs.text", "value": "x"}
        case "start with a key that is taken":
            inner.using(key="taken").start("apple")
            return start, {"arg_label": "pear", "key": "taken"}
        case "start with labels that are none":
            return start, {"arg_label": "pear", "labels": '{"a": [1]}'}
    runs = [finished(harness, label) for label in ("apple", "pear")]
    chosen = [str(run.pk) for run in runs]
    sent = {"action": "restart_selected", "confirmed": "yes", "from_step": "failure", "select_across": "0"}
    return reverse(LIST), {**sent, "index": "0", ACTION_CHECKBOX_NAME: chosen}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("language", LANGUAGES)
@override_settings(DJANGO_WORKFLOW={"PENDING_EVENT_LIMIT": 2, "VALUE_LIMIT": 2000})
def test_a_refusal_comes_out_in_the_readers_language(
    browser: Client, workflow_harness: Harness, language: str, what: str
) -> None:
    address, data = asked(what, workflow_harness)
    before = everything()
    answer = browser.post(address, {"reason": "", **data}, headers={"accept-language": language}, follow=True)
    assert answer.status_code == 200
    assert REFUSED[what][LANGUAGES.index(language)] in answer.content.decode()
    assert everything() == before


# Each with words of its own text that nobody wants to meet in another language.
ERRORS: Final[dict[str, tuple[DjangoWorkflowError, str]]] = {
    type(error).__name__: (error, words)
    for error, words in (
        (WorkflowInProgress("0193", "clean up"), "wait until"),
        (WorkflowFinished("0193", "failed"), "takes nothing"),
        (StepNotFound("0193", 7), "has no step"),
        (InvalidArguments("send_event()", ["key: 7 is no text"]), "problem"),
        (NotReadable("a value", "int", ["$: no number"]), "annotation"),
        (NotStorable("a value", "$.x", "is NaN", "give a number"), "cannot be stored"),
        (PayloadTooLarge("a value", None, 1000), "larger than"),
        (LimitReached("workflow 0193", "STEP_LIMIT = 1", "do less"), "reached"),
        (KeyConflict("shop.checkout", "k", "0193"), "belongs to"),
        (UnknownDefinition("shop.checkout"), "is defined"),
        (InvalidDefinition("the handler f", "is annotated as X"), "can't work"),
        (UsageError("not here"), "was refused"),
    )
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ERRORS)
def test_every_refusal_has_its_sentence(name: str, language: str) -> None:
    error, words = ERRORS[name]
    with override(None):
        english = worded(error)
    with override(language):
        said = worded(error)
    assert len(said) == len(english) == 1
    assert said != english
    assert words not in said[0]
