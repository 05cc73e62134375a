"""Tokens of links that send an event: made and read. What is in one is signed, not secret; the token itself is.

Rules of this file: it reads no row, and the time and the dice are handed in, so that links expire by the durable clock.
A token that is no good is None, whatever is wrong with it: nobody learns from us how near they came.
"""

from __future__ import annotations

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.core import signing

from django_workflow.keys import digest

SALT: Final = "django_workflow.links"
NONCE_BYTES: Final = 8

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_HEAD: Final = struct.Struct(
    f">16s{NONCE_BYTES}sq"
)  # workflow, nonce, expiry in microseconds; then the event's name


class Link(NamedTuple):
    """What a token says."""

    workflow_id: UUID
    event: str
    expires_at: datetime  # it is good before this moment
    key: str  # of the event: the same for the same token, and of no use to make the token from


def make(workflow_id: UUID, event: str, expires_at: datetime, nonce: bytes) -> str:
    """A token of letters, digits, `-`, `_` and one dot: 87 characters, and 4 for every 3 bytes of the event's name.

    Args:
        workflow_id: who gets the event.
        event: its name.
        expires_at: from when on the token is no good (aware).
        nonce: 8 random bytes: tokens of the same event differ, and each delivers once.

    """
    body = _HEAD.pack(workflow_id.bytes, nonce, (expires_at - _EPOCH) // _MICROSECOND) + event.encode()
    return _signer().sign(base64.urlsafe_b64encode(body).decode().rstrip("="))


def read(token: str, now: datetime) -> Link | None:
    """What a token says; None for one that we didn't make, or that has expired at `now`."""
    if not token.isascii():  # the signer compares bytes, which not every text has
        return None
    try:
        text = _signer().unsign(token)
        body = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        workflow_id, _nonce, expiry = _HEAD.unpack_from(body)
        event = body[_HEAD.size :].decode()
        expires_at = _EPOCH + expiry * _MICROSECOND
    except (signing.BadSignature, binascii.Error, struct.error, UnicodeDecodeError, OverflowError):
        return None
    if now >= expires_at:
        return None
    return Link(UUID(bytes=workflow_id), event, expires_at, f"link-{digest(SALT, token)}")


def _signer() -> signing.Signer:
    # Made anew for each token, so that it has today's SECRET_KEY and SECRET_KEY_FALLBACKS.
    return signing.Signer(sep=".", salt=SALT)
