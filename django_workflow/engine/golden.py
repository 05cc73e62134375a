"""Golden journals: a workflow with its journal as a file, to be replayed wherever its code is.

Rules of this file: it makes text of values and values of text, exactly; nothing is read or written here. The format
is numbered. A reader reads every format that there ever was, and refuses what it doesn't know: a journal that is half
understood proves nothing. Keys stand in one order and lines are short, so that files can be compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django_workflow.conf import settings
from django_workflow.engine.masking import Masking
from django_workflow.engine.rehearsal import Life, verdict
from django_workflow.exceptions import InvalidArguments
from django_workflow.handler import registry
from django_workflow.handler.commands import Recorded
from django_workflow.payloads import decode_error
from django_workflow.payloads.plain import dumps, loads
from django_workflow.states import StepKind, StepState, WorkflowState
from django_workflow.verdict import Breaks, Verdict

FORMAT = 1
TRACEBACK = "traceback"  # of errors: it tells the paths of a server, and hardly any handler reads it

Check = Callable[[Any], bool]


def _is_moment(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).utcoffset() is not None
    except (TypeError, ValueError):
        return False


def _is_id(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except (TypeError, ValueError, AttributeError):
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) is int and value >= 1


# Key → (what it has to be, in words; whether it is). Those of the second table may be left out; so may payloads.
_WORKFLOW: dict[str, tuple[str, Check]] = {
    "id": ("the text of a UUID", _is_id),
    "definition": ("a text", _is_text),
    "version": ("a whole number from 1", _is_number),
    "created_at": ("a moment with its time zone", _is_moment),
    "state": (f"one of {', '.join(WorkflowState)}", lambda value: value in tuple(WorkflowState)),
}
_WORKFLOW_MAY: dict[str, tuple[str, Check]] = {
    "started_at": _WORKFLOW["created_at"],
    "ending": _WORKFLOW["state"],
    "paused": ("a text", _is_text),
    "seed": ("a text", _is_text),
    "depth": ("a whole number from 0", _is_count),
}
_STEP: dict[str, tuple[str, Check]] = {
    "number": ("a whole number from 1", _is_number),
    "kind": (f"one of {', '.join(StepKind)}", lambda value: value in tuple(StepKind)),
    "name": ("a text", _is_text),
    "state": (f"one of {', '.join(StepState)}", lambda value: value in tuple(StepState)),
}
_STEP_MAY: dict[str, tuple[str, Check]] = {
    "function": ("a text", _is_text),
    "attempts": ("a whole number from 0", _is_count),
    "seq": ("a whole number from 1", _is_number),
    "delivered_at": _WORKFLOW["created_at"],
    "rollback": ("a text", _is_text),
}
_PAYLOADS = ("args", "result", "error")


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────


def write(life: Life, journal: Sequence[Recorded], *, with_secrets: bool) -> str:
    """The text of a golden journal. All payloads are in it, in clear but for names of `REDACT` and tracebacks."""
    masking = None if with_secrets else Masking(_payloads(life, journal), _names(life))
    document: dict[str, Any] = {"format": FORMAT}
    if masking is not None and masking.count:
        document["masked"] = masking.count
    document["workflow"] = _workflow(life, masking)
    document["steps"] = [_step(step, masking) for step in journal]
    return json.dumps(document, indent=2) + "\n"


def _names(life: Life) -> tuple[str, ...]:
    definition = registry.find(life.definition, life.version)
    return (*settings.REDACT, *(definition.redact if definition is not None else ()), TRACEBACK)


def _payloads(life: Life, journal: Sequence[Recorded]) -> Iterator[str]:
    texts = [life.args_text, life.result_text, life.error_text]
    for step in journal:
        texts += [step.args, step.result, step.error]
    return (text for text in texts if text is not None)


def _workflow(life: Life, masking: Masking | None) -> dict[str, Any]:
    return {
        "id": str(life.id),
        "definition": life.definition,
        "version": life.version,
        **_payload("args", life.args_text, masking),
        "created_at": life.created_at.isoformat(),
        **_known("started_at", life.started_at and life.started_at.isoformat()),
        **_known("seed", life.seed),
        **_known("depth", life.depth),
        "state": life.state,
        **_known("ending", life.ending),
        **_known("paused", masking.text(life.paused) if masking and life.paused else life.paused),
        **_payload("result", life.result_text, masking),
        **_payload("error", life.error_text, masking),
    }


def _step(step: Recorded, masking: Masking | None) -> dict[str, Any]:
    return {
        "number": step.number,
        "kind": step.kind,
        "name": step.name,
        **_known("function", step.function),
        **_payload("args", step.args, masking),
        "state": step.state,
        **_known("attempts", step.attempts),
        **_payload("result", step.result, masking),
        **_payload("error", step.error, masking),
        **_known("seq", step.seq),
        **_known("delivered_at", step.delivered_at and step.delivered_at.isoformat()),
        **_known("rollback", step.rollback),
    }


def _known(key: str, value: Any) -> dict[str, Any]:
    return {key: value} if value else {}


def _payload(key: str, text: str | None, masking: Masking | None) -> dict[str, Any]:
    """The value itself where it makes the same text again, and else its text: a replay compares texts."""
    if text is None:
        return {}
    value = loads(text)
    if masking is not None and masking.count:
        masked = masking.value(value)
        if masked != value:
            return {key: masked}
    return {key: value} if dumps(value) == text else {f"{key}_text": text}


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────


def replay(text: str) -> Verdict:
    """Whether the code of this process fits a golden journal. Raises `InvalidArguments` where that is none."""
    life, journal, masked = read(text)
    found = verdict(life, journal)
    if masked and isinstance(found, Breaks):
        hint = f"; or it is the masks that don't fit ({masked} values of this journal are masked)"
        return replace(found, reason=found.reason + hint)
    return found


def read(text: str) -> tuple[Life, list[Recorded], int]:
    """What `write()` has written: the workflow, its steps, and how many values are masked."""
    document = _document(text)
    problems: list[str] = []
    run, listed = document.get("workflow"), document.get("steps")
    _find_unknown(document, ("format", "masked", "workflow", "steps"), "", problems)
    if not _is_count(document.get("masked", 0)):
        problems.append(f"masked: {document['masked']!r} is not a whole number from 0")
    if not isinstance(run, dict):
        problems.append(f"workflow: {run!r} is no object")
    else:
        _find_problems(run, _WORKFLOW, _WORKFLOW_MAY, "workflow.", problems)
    if not isinstance(listed, list) or not all(isinstance(step, dict) for step in listed):
        problems.append("steps: is no list of objects")
    else:
        for at, step in enumerate(listed):
            _find_problems(step, _STEP, _STEP_MAY, f"steps[{at}].", problems)
        if not problems:
            _find_disorder(listed, problems)
    if problems:
        raise InvalidArguments("replay()", problems)
    assert isinstance(run, dict)
    assert isinstance(listed, list)
    return _life(run), [_recorded(step) for step in listed], int(document.get("masked", 0))


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArguments("replay()", [f"this is no golden journal: no JSON ({error})"]) from None
    if not isinstance(document, dict) or "format" not in document:
        raise InvalidArguments("replay()", ['this is no golden journal: it has no "format"'])
    given = document["format"]
    if type(given) is int and given > FORMAT:
        raise InvalidArguments(
            "replay()",
            [
                f"format: {given} is that of a later version of django-durable-workflow, this one reads {FORMAT}; upgrade it"
            ],
        )
    if type(given) is not int or given < 1:
        raise InvalidArguments("replay()", [f"format: {given!r} is unknown; this version reads {FORMAT}"])
    return document


def _find_problems(
    found: dict[str, Any],
    must: dict[str, tuple[str, Check]],
    may: dict[str, tuple[str, Check]],
    where: str,
    problems: list[str],
) -> None:
    for key, (wanted, check) in {**must, **may}.items():
        if key not in found:
            if key in must:
                problems.append(f"{where}{key}: is missing; give {wanted}")
        elif not check(found[key]):
            problems.append(f"{where}{key}: {found[key]!r} is not {wanted}")
    texts = [f"{key}_text" for key in _PAYLOADS if f"{key}_text" in found]
    problems += [f"{where}{key}: is no JSON text" for key in texts if not _is_json(found[key])]
    if not isinstance(loads(_text(found, "args") or "{}"), dict):
        problems.append(f"{where}args: is no object")
    if not _is_error(_text(found, "error")):
        problems.append(f"{where}error: is no error as a journal keeps it")
    payloads = [name for key in _PAYLOADS for name in (key, f"{key}_text")]
    _find_unknown(found, (*must, *may, *payloads), where, problems)


def _find_unknown(found: dict[str, Any], known: Sequence[str], where: str, problems: list[str]) -> None:
    problems += [f"{where}{key}: format {FORMAT} has no such key" for key in found if key not in known]


def _find_disorder(listed: list[dict[str, Any]], problems: list[str]) -> None:
    for key in ("number", "seq"):
        counted = Counter(step[key] for step in listed if key in step)
        problems += [f"steps: {key} {value} is there twice" for value, times in counted.items() if times > 1]
    for step in listed:
        if ("seq" in step) != ("delivered_at" in step):
            problems.append(f"step {step['number']}: seq and delivered_at go together")
        if step["state"] == StepState.FAILED and _text(step, "error") is None:
            problems.append(f"step {step['number']}: has failed and has no error")
        if step["kind"] == StepKind.ROLLBACK and not _is_number(
            loads(_text(step, "args") or "{}").get("step")
        ):
            problems.append(f"step {step['number']}: is a rollback and its args name no step")


def _is_json(text: Any) -> bool:
    try:
        loads(text)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _is_error(text: str | None) -> bool:
    try:
        return text is None or isinstance(decode_error(text).type, str)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _text(found: dict[str, Any], key: str) -> str | None:
    """The JSON text of a payload; None: there is none."""
    if f"{key}_text" in found and _is_json(found[f"{key}_text"]):
        return str(found[f"{key}_text"])
    return dumps(found[key]) if key in found else None


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _life(run: dict[str, Any]) -> Life:
    return Life(
        id=UUID(run["id"]),
        definition=run["definition"],
        version=run["version"],
        args_text=_text(run, "args") or "{}",
        state=run["state"],
        created_at=datetime.fromisoformat(run["created_at"]),
        started_at=_moment(run.get("started_at")),
        paused=run.get("paused"),
        ending=run.get("ending"),
        seed=run.get("seed", ""),
        depth=run.get("depth", 0),
        result_text=_text(run, "result"),
        error_text=_text(run, "error"),
    )


def _recorded(step: dict[str, Any]) -> Recorded:
    return Recorded(
        id=None,
        number=step["number"],
        kind=step["kind"],
        name=step["name"],
        function=step.get("function", ""),
        args=_text(step, "args") or "{}",
        result=_text(step, "result"),
        error=_text(step, "error"),
        state=step["state"],
        attempts=step.get("attempts", 0),
        history="[]",
        due_at=None,
        lease_owner=None,
        seq=step.get("seq"),
        delivered_at=_moment(step.get("delivered_at")),
        started_at=None,
        completed_at=None,
        rollback=step.get("rollback", ""),
    )
