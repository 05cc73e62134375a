"""Which definitions and events this process knows: (name, version) → definition, name → event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_workflow.exceptions import DuplicateDefinition, UnknownDefinition

if TYPE_CHECKING:
    from django_workflow.handler.definition import WorkflowDefinition
    from django_workflow.handler.events import Event
    from django_workflow.manager import WorkflowManager

_definitions: dict[tuple[str, int], WorkflowDefinition[Any, Any]] = {}
_events: dict[str, Event[Any]] = {}
_fingerprints: set[str] = set()  # of all code that this process has had, also before a reload


def add(definition: WorkflowDefinition[Any, Any]) -> None:
    """Register `definition`. Raises `DuplicateDefinition` when its name and version are taken."""
    key = (definition.name, definition.version)
    other = _definitions.get(key)
    if other is not None and not _same_source(other, definition):
        raise DuplicateDefinition(definition.name, definition.version, where(other))
    _definitions[key] = definition
    _fingerprints.add(definition.fingerprint)


def _same_source(one: WorkflowDefinition[Any, Any], other: WorkflowDefinition[Any, Any]) -> bool:
    # A module that is loaded twice (a reload in a shell) defines the same handler again: the newer one counts.
    return where(one) == where(other) and one.handler.__qualname__ == other.handler.__qualname__


def where(definition: WorkflowDefinition[Any, Any]) -> str:
    """`file:line` of the handler."""
    code = definition.handler.__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def find(name: str, version: int) -> WorkflowDefinition[Any, Any] | None:
    """The definition with exactly this name and version, or None."""
    return _definitions.get((name, version))


def newest(name: str) -> WorkflowDefinition[Any, Any]:
    """The definition of that name with the highest version. Raises `UnknownDefinition`."""
    versions = [version for known, version in _definitions if known == name]
    if not versions:
        raise UnknownDefinition(name, sorted({known for known, _ in _definitions}))
    return _definitions[name, max(versions)]


def known() -> tuple[tuple[str, int], ...]:
    """All (name, version) pairs, in a stable order."""
    return tuple(sorted(_definitions))


def manager_of(name: str, version: int) -> WorkflowManager | None:
    """The manager of a known definition (None where a test made one without)."""
    return _definitions[name, version].manager


def definitions() -> tuple[WorkflowDefinition[Any, Any], ...]:
    """All definitions, by name and version."""
    return tuple(_definitions[key] for key in sorted(_definitions))


def fingerprints() -> frozenset[str]:
    """Of the code of all definitions that this process has, or had before a reload."""
    return frozenset(_fingerprints)


def add_event(event: Event[Any]) -> None:
    """Register `event`. Raises `DuplicateDefinition` when its name goes with another type."""
    other = _events.setdefault(event.name, event)
    if other != event:
        raise DuplicateDefinition(event.name, None, repr(other))


def find_event(name: str) -> Event[Any] | None:
    """The event that is registered under this name, or None."""
    return _events.get(name)
