"""ETags of what is shown: a digest of it, so that two answers are equal iff their tags are."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.utils.http import parse_etags, quote_etag
from rest_framework.request import Request
from rest_framework.response import Response


def etag(shown: Any) -> str:
    """The tag, with its quotes."""
    text = json.dumps(shown, sort_keys=True, separators=(",", ":"))
    return quote_etag(hashlib.sha256(text.encode()).hexdigest()[:32])


def known(request: Request) -> list[str]:
    """The tags of what the client has already; weak ones count (RFC 9110, section 13.1.2)."""
    return [tag.removeprefix("W/") for tag in parse_etags(request.headers.get("If-None-Match", ""))]


def tagged(request: Request, shown: Any) -> Response:
    """200 with what is shown, or 304 for who has it."""
    tag = etag(shown)
    has = known(request)
    # 304 is for who asks by GET; the answer to a POST is always told.
    fresh = request.method in ("GET", "HEAD") and (tag in has or has == ["*"])
    return Response(status=304, headers={"ETag": tag}) if fresh else Response(shown, headers={"ETag": tag})
