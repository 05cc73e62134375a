"""What is stored of an error. Always plain text: it is read when the code that raised it may be gone."""

from __future__ import annotations

from django_workflow.exceptions import ErrorInfo
from django_workflow.payloads.plain import dumps, loads


def encode_error(info: ErrorInfo) -> str:
    """Return an error as ASCII JSON."""
    return dumps({"type": info.type, "message": info.message, "traceback": info.traceback, "step": info.step})


def decode_error(text: str) -> ErrorInfo:
    """Return the error that `encode_error()` made `text` of."""
    stored = loads(text)
    return ErrorInfo(
        stored["type"], stored.get("message", ""), stored.get("traceback", ""), stored.get("step")
    )
