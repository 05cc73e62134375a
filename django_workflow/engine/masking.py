"""Takes secrets out of a journal so that it can still be replayed.

Rules of this file: one secret has one mask, wherever it stands. What stands under a name of `REDACT` is a secret, and
every text that holds it holds its mask instead: a handler that hands it on hands on the mask, in the place where the
record has the mask, too. Numbers under such a name become 0 there and nowhere else. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from django_workflow.payloads import decode_plain
from django_workflow.redaction import MASK

SHORTEST = (
    4  # characters of a secret that is looked for everywhere; a shorter one is masked under its name only
)

_SCHEME = re.compile(r"(?:bearer|token|basic|apikey) ", re.IGNORECASE | re.ASCII)  # of an authorization


class Masking:
    """What is masked in the payloads of one journal.

    Args:
        texts: all of its payloads, as JSON text.
        names: under which secrets stand, compared without case.

    """

    def __init__(self, texts: Iterable[str], names: Iterable[str]) -> None:
        self._names = frozenset(name.casefold() for name in names)
        self.count = 0  # secrets
        self._masks: dict[str, str] = {}
        for text in texts:
            for secret in self._secrets(decode_plain(text), under=False):
                self.count += 1
                if isinstance(secret, str) and len(secret) >= SHORTEST:
                    self._masks.setdefault(secret, f"{MASK}{len(self._masks) + 1}")
        for secret in self._masks:
            # `Bearer …` around a secret that has a mask: a handler puts it around the mask.
            scheme = _SCHEME.match(secret)
            if scheme is not None and (inner := self._masks.get(secret[scheme.end() :])) is not None:
                self._masks[secret] = f"{scheme[0]}{inner}"
        # The longest first: a secret may be part of another.
        self._order = sorted(self._masks, key=len, reverse=True)

    def value(self, value: Any) -> Any:
        """A plain JSON value without secrets."""
        return self._masked(value, under=False)

    def text(self, text: str) -> str:
        """A text without secrets."""
        for secret in self._order:
            text = text.replace(secret, self._masks[secret])
        return text

    def _is_secret(self, key: Any, under: bool) -> bool:
        return under or (isinstance(key, str) and key.casefold() in self._names)

    def _secrets(self, value: Any, *, under: bool) -> Iterator[str | float]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield from self._secrets(item, under=self._is_secret(key, under))
        elif isinstance(value, list):
            for item in value:
                yield from self._secrets(item, under=under)
        elif under and isinstance(value, str | int | float) and not isinstance(value, bool) and value:
            yield value

    def _masked(self, value: Any, *, under: bool) -> Any:
        if isinstance(value, dict):
            return {
                self.text(key): self._masked(item, under=self._is_secret(key, under))
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._masked(item, under=under) for item in value]
        if isinstance(value, str):
            return self._masks.get(value, MASK if value else "") if under else self.text(value)
        if under and isinstance(value, int | float) and not isinstance(value, bool):
            return type(value)(0)
        return value
