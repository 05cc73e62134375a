"""The key of a request, from its body or from the header `Idempotency-Key`."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request

from django_workflow.rest.problems import Problem, WrongField

HEADER = "Idempotency-Key"


def key_of(request: Request, body: dict[str, Any]) -> str | None:
    """The key, quoted in the header or not. Raises `Problem` where header and body say different ones."""
    key: str | None = body.get("key")
    header = request.headers.get(HEADER)
    if header is None:
        return key
    text = header.strip(" \t")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if key is not None and key != text:
        raise Problem("invalid", "", [WrongField("key", f"the header {HEADER} says another one")])
    return text
