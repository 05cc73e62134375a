"""Ten thousand requests that no honest client would send, and a few that one would: none is an error of ours, every
refusal is a problem, and what is refused, or only looked at, has changed nothing.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_from_bytes, unquote, urlencode

import pytest
from django.test import Client
from django.urls import Resolver404, resolve
from hypothesis import given, seed
from hypothesis import strategies as st

from django_workflow.rest.problems import MEDIA_TYPE, URN
from tests.fuzz.stage import ALL, STARTABLE, WHO, Stage, credentials, everything, times, undone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200 if ALL else 600)]

FIELDS = {
    "": ("definition", "args", "key", "labels", "run_at"),
    "cancel/": ("reason", "rollback"),
    "restart/": ("from_step", "from_failure", "reason"),
    "fork/": ("from_step", "reason"),
    "events/": ("name", "value", "error", "key", "reason"),
    "cleanup/": ("reason",),
}
KNOWN: dict[str, list[Any]] = {
    "definition": [*STARTABLE, "fuzz.inside", "os.system"],
    "name": ["fuzz.go", "fuzz.approved"],
    "from_step": [0, 1, 2, 3, "same", "fuzz.go"],
    "rollback": [True, False],
    "from_failure": [True, False],
    "run_at": [
        "2031-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2031-01-01",
    ],
    "key": ["kept", "waiting", "new"],
    "labels": [{"customer": 42}, {"": 1}, {"a": "\ud800"}, {"a": 10**400}, {"a": []}],
    "args": [{}, [], {"value": 1}, [1], [1, 2, 3, 4], {"number": 1, "text": "a"}, {"number": "x", "self": 1}],
}
NASTY = [
    b"",
    b"null",
    b"[]",
    b'"',
    b"{",
    b"{}x",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b'{"definition": NaN}',
    b'{"definition": "fuzz.keeps", "args": {"value": Infinity}}',
    b'{"definition": "fuzz.keeps", "args": {"value": 1e400}}',
    b'{"definition": "fuzz.keeps", "args": {"value": -0.0}}',
    b'{"definition": "fuzz.keeps", "args": {"value": ' + b"9" * 5_000 + b"}}",
    b'{"definition": "fuzz.keeps", "args": {"value": "\\ud800"}}',
    b'{"definition": "fuzz.keeps", "args": {"value": "\xed\xa0\x80"}}',
    b'{"definition": "fuzz.keeps", "args": {"value": "\\u0000"}}',
    b'{"definition": "fuzz.keeps", "args": {"value": "\x00"}}',
    b'{"definition": "fuzz.keeps", "definition": "fuzz.waits"}',
    b'{"definition": "fuzz.keeps", "key": "\\udfff"}',
    b'{"definition": "fuzz.keeps", "\\ud800": 1}',
    b'{"name": "fuzz.go", "value": ' + b"[" * 2_000 + b"]" * 2_000 + b"}",
    b'{"name": "fuzz.go", "value": ' + b"[" * 99 + b"]" * 99 + b"}",
    b'{"a":' * 50_000,
    b"[" * 100_000,
    b'{"reason": "' + b"x" * 100_000 + b'"}',
    b'{"definition": "fuzz.keeps", "args": {"value": "' + b"x" * 1_100_000 + b'"}}',
]
TYPES = [
    "",
    "application/json",
    "application/json; charset=utf-16",
    "application/json; charset=no-such",
    "application/json;;;=",
    "application/problem+json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=" + "x" * 500,
    "text/plain",
    "text/html",
    "\xff/\xfe",
    "/",
]
PARAMETERS = [
    *(
        "state",
        "definition",
        "key",
        "created_after",
        "created_before",
        "label.customer",
        "label.",
        "label.\0",
    ),
    *("cursor", "page_size", "wait", "format", "nothing"),
]
VALUES = [
    *(
        "",
        "\0",
        "completed",
        "fuzz.keeps",
        "42",
        "0",
        "-1",
        "9" * 400,
        "²",
        "json",
        "api",
        "html",
        "x" * 5_000,
    ),
    *("2031-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "2031-13-01T00:00:00Z"),
    *("WyJuIl0=", "bnVsbA==", "=" * 301),
]
# Bytes as headers have them, of which the server has taken away what no header may hold.
HEADER = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=300
)

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**30, max_value=10**60)
    | st.floats(allow_nan=True)
    | st.text(st.characters(codec=None), max_size=30)
    | st.sampled_from(
        ["", "\0", "\ud800", "\u202e", "x" * 300, "' OR 1=1 --", "<script>", "%s%n", "../../etc/passwd"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec=None), max_size=10), inner, max_size=4)
    ),
    max_leaves=8,
)


def one_in(number: int) -> st.SearchStrategy[bool]:
    """True once in so many times; the simplest case is False."""
    return st.integers(1, number).map(lambda drawn: drawn == number)


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    query: str
    body: bytes
    content_type: str
    headers: dict[str, str]

    def send(self) -> Any:
        client = Client(raise_request_exception=False, enforce_csrf_checks=True)
        return client.generic(
            self.method,
            f"/api/{self.path}",
            self.body,
            content_type=self.content_type,
            headers=self.headers,
            QUERY_STRING=self.query,
        )

    @property
    def is_routed(self) -> bool:
        """False: no route of ours knows the address (a name with a line break), and the project says so."""
        try:
            resolve(f"/api/{unquote(self.path)}")
        except Resolver404:
            return False
        return True

    @property
    def may_be_a_page(self) -> bool:
        accept = self.headers.get("Accept", "").casefold()
        return "html" in accept or "text/*" in accept or "format" in self.query


@st.composite
def bodies(draw: st.DrawFn, fields: tuple[str, ...]) -> bytes:
    """What may come as a body, right or wrong."""
    kind = draw(st.integers(0, 11))
    if kind == 11:
        return draw(st.binary(max_size=200))
    if kind == 10:
        return draw(st.sampled_from(NASTY))
    if kind == 9:
        return json.dumps(draw(anything)).encode()
    value = {}
    for name in fields:
        if draw(st.integers(0, 3)):
            known = KNOWN.get(name)
            value[name] = (
                draw(st.sampled_from(known)) if known and draw(st.integers(0, 2)) else draw(anything)
            )
    if kind == 8:
        value[draw(st.text(st.characters(codec=None), max_size=20))] = draw(anything)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    encoded = text.encode(draw(st.sampled_from(["utf-8"] * 9 + ["utf-16"])), "surrogatepass")
    return encoded[: draw(st.integers(0, len(encoded)))] if kind == 7 else encoded


@st.composite
def queries(draw: st.DrawFn) -> str:
    """What may come behind the question mark."""
    if draw(one_in(3)):
        return ""
    names, values = st.sampled_from(PARAMETERS), st.sampled_from(VALUES)
    if draw(one_in(6)):
        return quote_from_bytes(draw(st.binary(max_size=100)), safe="&=;%+")
    texts = values | st.text(max_size=30)
    pairs = draw(st.lists(st.tuples(names | st.text(max_size=10), texts), max_size=3))
    tail = draw(
        st.sampled_from(
            ["", "", "&key=%ED%A0%80", "&key=%FF", "&%00=%00", "&" * 50, "&key=%", "&cursor=" + "A" * 9_000]
        )
    )
    # A wait that is right would be waited for.
    return urlencode([(name, value) for name, value in pairs if (name, value) != ("wait", "42")]) + tail


@st.composite
def headers(draw: st.DrawFn) -> dict[str, str]:
    """Who asks, and how."""
    found = credentials(draw(st.sampled_from([*WHO, "boss", "boss", "boss", "boss"])))
    if draw(one_in(10)):
        found["Accept"] = draw(
            st.sampled_from(
                ["", "*/*", "application/json", "text/html", "text/*", "image/png", "a/b;q=x", ";"]
            )
            | HEADER
        )
    for name in (
        "Idempotency-Key",
        "Last-Event-ID",
        "Content-Encoding",
        "Authorization",
        "Range",
    ):
        if draw(one_in(40)):
            found[name] = draw(HEADER)
    if draw(one_in(3)):
        found["If-None-Match"] = draw(st.just("*") | HEADER)
    return found


def segments(known: list[str]) -> st.SearchStrategy[str]:
    """A part of an address: mostly one that is known."""
    made_up = st.text(
        st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=40
    )
    usual = st.sampled_from(
        [*known, *known, "0", "None", "00000000-0000-0000-0000-000000000000", "\0", "a.json", "{}"]
    )
    return (
        (usual | usual | usual | made_up)
        .filter(lambda text: text not in (".", ".."))
        .map(lambda text: quote(text, safe=""))
    )


@st.composite
def posts(draw: st.DrawFn, stage: Stage) -> Asked:
    route = draw(st.sampled_from([*FIELDS, "link", "delete"]))
    fields = FIELDS.get(route, ("value",))
    path = {"": "workflows/", "link": f"events/{draw(segments(stage.tokens))}/"}.get(route) or (
        f"workflows/{draw(segments(stage.ids))}/{'' if route == 'delete' else route}"
    )
    content_type = draw(st.sampled_from(TYPES) | HEADER) if draw(one_in(8)) else "application/json"
    query = draw(queries()) if draw(one_in(8)) else ""
    method = "DELETE" if route == "delete" else "POST"
    return Asked(method, path, query, draw(bodies(fields)), content_type, draw(headers()))


@st.composite
def gets(draw: st.DrawFn, stage: Stage) -> Asked:
    one = f"workflows/{draw(segments(stage.ids))}/"
    path = draw(
        st.sampled_from(
            [
                "workflows/",
                "workflows/",
                "workflows/",
                one,
                f"{one}steps/",
                f"{one}status/",
                "health/",
                "definitions/",
            ]
        )
        | segments(list(STARTABLE)).map(lambda name: f"definitions/{name}/")
        | segments(stage.tokens).map(lambda token: f"events/{token}/")
    )
    method = draw(
        st.sampled_from(["GET", "GET", "GET", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "FOO"])
    )
    return Asked(method, path, draw(queries()), b"", "", draw(headers()))


def check(asked: Asked, before: dict[str, list[Any]]) -> int:
    """Send it, look at the answer and at the rows; returns the status."""
    with undone():
        response = asked.send()
        status: int = response.status_code
        kind = response.headers.get("Content-Type", "")
        content = b"" if response.streaming else response.content
        if asked.path == "health/" and status == 503:
            return status
        assert status < 500, (asked, content[:500])
        if status >= 400 and asked.is_routed and not (kind.startswith("text/html") and asked.may_be_a_page):
            assert kind == MEDIA_TYPE, (asked, status, kind, content[:500])
            if asked.method != "HEAD":
                told = json.loads(content)
                assert told["type"].startswith(URN), asked
                assert told["status"] == status, asked
        if status >= 400 or asked.method not in ("POST", "DELETE"):
            assert everything() == before, (asked, status)
    return status


@pytest.mark.parametrize("name", ["\0", "boss\0", "é\0"])
def test_a_name_that_no_user_can_have_is_nobodys(stage: Stage, name: str) -> None:
    login = base64.b64encode(f"{name}:sesame".encode()).decode()
    asked = Asked("GET", "workflows/", "", b"", "", {"Authorization": f"Basic {login}"})
    assert check(asked, everything()) in (401, 403)


def test_bodies(stage: Stage) -> None:
    before = everything()
    seen: set[int] = set()

    @seed(20261126)
    @times(120, 10_000)
    @given(posts(stage))
    def ask(asked: Asked) -> None:
        seen.add(check(asked, before))

    ask()
    if ALL:
        assert {200, 201, 202, 204, 400, 403, 404, 406, 409, 415, 422} <= seen


def test_queries(stage: Stage) -> None:
    before = everything()
    seen: set[int] = set()

    @seed(20261126)
    @times(60, 5_000)
    @given(gets(stage))
    def ask(asked: Asked) -> None:
        seen.add(check(asked, before))

    ask()
    if ALL:
        assert {200, 304, 400, 404, 405, 406} <= seen
