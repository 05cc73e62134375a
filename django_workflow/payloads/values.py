"""One value ⇄ its text, and every refusal as an error of this project that names the value."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from django_workflow.exceptions import NotReadable, NotStorable, PayloadTooLarge
from django_workflow.payloads.codecs import Codec, codec_of
from django_workflow.payloads.faults import AS_ANNOTATED, faults_of
from django_workflow.payloads.plain import decode_plain
from django_workflow.payloads.refusals import Refused, TooLarge, name_of, said


def encode(value: Any, annotation: Any = Any, *, what: str, limit: int) -> str:
    """Return `value` as ASCII JSON, as its annotation says.

    `what` names the value in errors ("result of step 2 (fetch)"), `limit` is in bytes. Raises `NotStorable`,
    `PayloadTooLarge`, and `InvalidDefinition` for an annotation that no value can be stored by.
    """
    return encode_with(codec_of(annotation, what), value, what, limit)


def decode(text: str, annotation: Any = Any, *, what: str = "the stored value") -> Any:
    """Return the value that `encode()` made `text` of, a new object each time.

    Raises `NotReadable` where the text does not fit the annotation (which was changed, then).
    """
    return decode_with(codec_of(annotation, what), text, what)


def encode_with(codec: Codec, value: Any, what: str, limit: int) -> str:
    """Do what `encode()` does, the codec being known."""
    try:
        text = codec.text(value, limit)
    except Refused as refused:
        raise NotStorable(what, refused.path(), refused.reason, refused.remedy) from None
    except ValidationError as error:
        fault = faults_of(error, value)[0]
        remedy = fault.remedy or AS_ANNOTATED
        raise NotStorable(what, f"${fault.path}", fault.reason, remedy) from None
    except TooLarge:
        raise PayloadTooLarge(what, None, limit) from None
    if len(text) > limit:
        raise PayloadTooLarge(what, len(text), limit)
    return text


def decode_with(codec: Codec, text: str, what: str) -> Any:
    """Do what `decode()` does, the codec being known."""
    try:
        return codec.value(text)
    except ValidationError as error:
        problems = [f"${path}: {reason}" for path, reason, *_ in faults_of(error, decode_plain(text))]
        raise NotReadable(what, name_of(codec.annotation), problems) from None
    except Exception as error:
        # Validators are foreign code.
        raise NotReadable(what, name_of(codec.annotation), [f"$: {said(error)}"]) from error
