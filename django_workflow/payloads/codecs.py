"""One codec for each annotation, made at its first use and kept.

Values that need no pydantic never see it. Codecs are cached, what they read never is.
"""

from __future__ import annotations

import collections
import functools
from typing import Any

from pydantic import ValidationError

from django_workflow.exceptions import InvalidDefinition
from django_workflow.payloads.annotations import exact_type, hashable
from django_workflow.payloads.plain import dumps, loads, plain_text
from django_workflow.payloads.refusals import Refused, has, name_of, shorten
from django_workflow.payloads.surrogates import has_lone_surrogate, may_hold_surrogates
from django_workflow.payloads.typed import Form


class Codec:
    """How the values of one annotation are written and read.

    `exact` is the type, if any, whose plain instances need no pydantic: validating and dumping them changes nothing.
    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._plain = annotation is Any or annotation is object
        self._exact = None if self._plain else exact_type(annotation)
        self._form = None if self._plain else Form(annotation, disguise=False)

    @functools.cached_property
    def _disguised(self) -> Form:
        return Form(self.annotation, disguise=True)

    def text(self, value: Any, limit: int) -> str:
        """Return `value` as JSON; raises `Refused`, `TooLarge` or pydantic's `ValidationError`."""
        if self._form is None or type(value) is self._exact:
            return plain_text(value, limit)
        try:
            text = self._form.text(value, limit)
        except ValidationError as error:
            if not any(fault["type"] == "string_unicode" for fault in error.errors(include_url=False)):
                raise
        except Refused:
            if not may_hold_surrogates(value):
                raise
        else:
            # Of a lone surrogate in a key pydantic makes replacement characters.
            if "\\ufffd" not in text and not has_lone_surrogate(text):
                return text
        return self._disguised.text(value, limit)

    def value(self, text: str) -> Any:
        """Return the value; raises pydantic's `ValidationError`."""
        if self._form is None:
            return loads(text)
        if self._exact is not None:
            plain = loads(text)
            if type(plain) is self._exact:
                return plain
        return (self._disguised if has_lone_surrogate(text) else self._form).value(text)

    def value_of(self, stored: Any) -> Any:
        """Return the value of JSON that was loaded already; the caller gives `stored` away."""
        if self._form is None or type(stored) is self._exact:
            return stored
        return self.value(dumps(stored))


def codec_of(annotation: Any, what: str) -> Codec:
    """Return the codec of an annotation; raises `InvalidDefinition` where no value can be stored by it."""
    if annotation is Any:
        return _ANY
    try:
        if type(annotation) is type:
            return _class_codec(annotation)
        if hashable(annotation):
            return _cached_codec(annotation, repr(annotation))
        return _unhashable_codec(annotation)
    except Exception as error:
        # Pydantic runs foreign hooks; whatever fails here is the annotation's fault
        raise _unusable(what, annotation, error) from error


_ANY = Codec(Any)


# Two annotations may be equal and yet not the same (`int | str`, `str | int`), hence the text in the key.
@functools.lru_cache(maxsize=2048)
def _cached_codec(annotation: Any, text: str) -> Codec:
    return Codec(annotation)


@functools.lru_cache(maxsize=2048)
def _class_codec(annotation: type) -> Codec:
    return Codec(annotation)


# An annotation that cannot be hashed (`Annotated[int, {"unit": "cm"}]`) is known by its address, and kept so that the
# address stays its own.
_unhashable_codecs: collections.OrderedDict[int, tuple[Any, Codec]] = collections.OrderedDict()


def _unhashable_codec(annotation: Any) -> Codec:
    known = _unhashable_codecs.get(id(annotation))
    if known is None or known[0] is not annotation:
        known = (annotation, Codec(annotation))
        _unhashable_codecs[id(annotation)] = known
        while len(_unhashable_codecs) > 512:
            _unhashable_codecs.popitem(last=False)
    return known[1]


def _unusable(what: str, annotation: Any, error: Exception) -> InvalidDefinition:
    remedy = "annotate it with plain data, a dataclass, a pydantic model or another type that pydantic knows"
    special = " (pass a model's primary key instead)" if has(annotation, "_meta", "objects") else ""
    reason = shorten(str(error).partition("\n")[0], 200)
    problem = f"is annotated as {name_of(annotation)}, which cannot be stored: {reason}"
    return InvalidDefinition(what, problem, remedy + special)
