"""Every answer to whatever the description allows, and to much that it doesn't, is one that it announces.

By schemathesis, through the project's WSGI application, on rows of every state: the status, the media type, the headers
and the body, in which no member may be that the description doesn't name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import pytest
import schemathesis
import yaml
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import given, seed
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contracts.markdown import ROOT
from tests.fuzz.stage import ALL, BOSS, STARTABLE, WHO, Stage, credentials, times, undone

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
NAMES = ("fuzz.go", "fuzz.approved", "another")


def closed(description: Mapping[str, Any]) -> dict[str, Any]:
    """The description, by which an object has no members but those that are named."""
    strict = deepcopy(dict(description))
    for schema in strict["components"]["schemas"].values():
        if schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    return strict


DESCRIPTION = closed(yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text()))
OPERATIONS = [
    each["operationId"]
    for methods in DESCRIPTION["paths"].values()
    for each in methods.values()
    if each["operationId"] != "workflow_stream"  # has no end while the workflow has none: see tests/stream/
]


@pytest.mark.slow
@pytest.mark.timeout(7200 if ALL else 600)
@pytest.mark.parametrize("who", WHO)
def test_no_answer_is_a_surprise(stage: Stage, who: str) -> None:
    schema = schemathesis.openapi.from_dict(DESCRIPTION)
    schema.app = _application
    never = []
    for name in OPERATIONS:
        statuses = _asked(schema.find_operation_by_id(name), stage, who)
        if not any(status < 300 for status in statuses):
            never.append(name)
    # A sample may miss a case that succeeds; of all cases there is one for who may do it.
    if ALL and who == BOSS:
        assert never == ["workflow_health"]  # no cluster runs here


def _asked(operation: Any, stage: Stage, who: str) -> Counter[int]:
    """Ask an operation many times; returns how often it answered by which status."""
    statuses: Counter[int] = Counter()
    modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if _can_be_wrong(operation) else [])]
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])
    expected_503 = (
        {not_a_server_error} if operation.definition.raw["operationId"] == "workflow_health" else set()
    )

    @seed(20261126)
    @times(5, 50)
    @given(cases, st.data())
    def ask(case: Case[Any], data: st.DataObject) -> None:
        _aim(case, stage, data.draw)
        with undone():
            checks = [check for check in CHECKS if check not in expected_503]
            response = case.call_and_validate(headers=credentials(who), checks=checks)
        statuses[response.status_code] += 1

    ask()
    return statuses


def _application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The project's, which leaves the test its connection, as Django's own test client sees to it."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    try:
        answer: Any = get_wsgi_application()(environ, start_response)
        content = b"".join(answer)
        answer.close()
        return [content]
    finally:
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)


def _can_be_wrong(operation: Any) -> bool:
    return bool(list(operation.iter_parameters()) or operation.body)


def _aim(case: Case[Any], stage: Stage, draw: Any) -> None:
    """Put into a case what is there: made up ids and names would all be answered alike."""
    mostly = st.integers(0, 4).map(bool)
    for name, known in (("id", stage.ids), ("token", stage.tokens), ("name", STARTABLE)):
        if name in (case.path_parameters or {}) and draw(mostly):
            case.path_parameters[name] = draw(st.sampled_from(known))
    if isinstance(case.body, dict):
        for name, some in (
            ("definition", STARTABLE),
            ("name", NAMES),
            ("from_step", (1, 2, "same", "no")),
            ("value", (True, "x")),
        ):
            if name in case.body and draw(mostly):
                case.body[name] = draw(st.sampled_from(some))
    if "wait" in (case.query or {}):  # nobody would answer sooner
        case.query["wait"] = draw(st.sampled_from([0, "0", -1, 61, "soon", ""]))
