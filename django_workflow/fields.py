"""The column type of payloads: text that the project's `CODEC` may seal before it is written.

Rules of this file: what is sealed begins with a mark that no JSON text begins with, so that rows from before a
codec was set are read as they are. Raw SQL that reads such a column calls `unseal()` itself.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.utils.module_loading import import_string

from django_workflow.conf import settings

MARK = "~"

if TYPE_CHECKING:  # generic for type checkers only
    _TextField = models.TextField[Any, Any]
else:
    _TextField = models.TextField


class Codec(Protocol):
    """What the setting `CODEC` names: text ⇄ text, for encryption at rest, say."""

    def encode(self, text: str) -> str:
        """`text`, sealed; any text without NUL."""

    def decode(self, text: str) -> str:
        """The text that `encode()` has sealed, with this or an earlier key."""


class PayloadField(_TextField):
    """JSON text, sealed by the codec."""

    def get_prep_value(self, value: Any) -> Any:
        """As it is written."""
        value = super().get_prep_value(value)
        return seal(value) if isinstance(value, str) else value

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        """As it was before."""
        return unseal(value)


def seal(text: str) -> str:
    """`text` as it is to be stored."""
    path = settings.CODEC
    return text if path is None else MARK + codec_at(path).encode(text)


def unseal(text: str | None) -> str | None:
    """Stored text as it was. Raises `ImproperlyConfigured` when it is sealed and no codec is set."""
    if text is None or not text.startswith(MARK):
        return text
    path = settings.CODEC
    if path is None:
        raise ImproperlyConfigured(
            "A value in the journal was written with a CODEC, and DJANGO_WORKFLOW names none. Set it again; what is "
            "written without one can be read with one, not the other way round."
        )
    return codec_at(path).decode(text[len(MARK) :])


@functools.lru_cache(maxsize=8)
def codec_at(path: str) -> Codec:
    """The codec at a dotted path; of a class, an instance. Raises `ImproperlyConfigured`."""
    try:
        found = import_string(path)
        codec = found() if isinstance(found, type) else found
    except Exception as error:
        # Importing and calling it is the project's own code, which may raise anything.
        raise ImproperlyConfigured(
            f"DJANGO_WORKFLOW['CODEC'] is {path!r}, which can't be used: {error}"
        ) from error
    for method in ("encode", "decode"):
        if not callable(getattr(codec, method, None)):
            raise ImproperlyConfigured(
                f"DJANGO_WORKFLOW['CODEC'] is {path!r}, which has no method {method}(text); give it encode and decode."
            )
    return codec  # type: ignore[no-any-return]
