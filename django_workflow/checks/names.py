"""What a name in a function's source stands for.

Resolves expressions through the function's scopes, its closure and its module, without calling anything:
`dt.now` becomes `datetime.datetime.now` however `dt` was imported. What can't be known for sure is None, and
nobody warns of it.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, MethodWrapperType, ModuleType
from typing import TypeGuard

from django.utils.connection import ConnectionProxy

FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, MethodWrapperType)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)

# Modules that hold what another one is known for.
PUBLIC_NAMES = {"pathlib._local": "pathlib"}


@dataclass(frozen=True)
class Thing:
    """An object that exists now: a module, a class, a function, a value at module level."""

    value: object


@dataclass(frozen=True)
class Made:
    """What a call of this class would return."""

    cls: type


@dataclass(frozen=True)
class Named:
    """Known by its names only: an attribute of an instance (one name per base class), a module not loaded."""

    names: tuple[str, ...]
    # True iff the instance is made by the code itself.
    made: bool = False


Known = Thing | Made | Named
Binding = ast.expr | Known | None


class Scope:
    """The names that one function binds, within the scopes around it.

    A name that is bound once, by a plain assignment or an import, is looked through; all others are unknown.
    """

    def __init__(self, function: ast.AST, outer: Scope | Mapping[str, object]) -> None:
        self.outer = outer
        self.bindings: dict[str, Binding] = {}
        for name, binding in _bindings(function):
            self.bindings[name] = None if name in self.bindings else binding

    def lookup(self, name: str) -> Known | None:
        if name in self.bindings:
            binding = self.bindings[name]
            if not isinstance(binding, ast.expr):
                return binding
            self.bindings[name] = None  # `x = x.y` must not ask for itself
            found = self.resolve(binding)
            self.bindings[name] = binding
            return found
        if isinstance(self.outer, Scope):
            return self.outer.lookup(name)
        if name in self.outer:
            return Thing(self.outer[name])
        return Thing(getattr(builtins, name)) if hasattr(builtins, name) else None

    def resolve(self, expression: ast.expr) -> Known | None:
        """What the expression stands for, if that is certain."""
        match expression:
            case ast.Name(id=name):
                return self.lookup(name)
            case ast.Attribute(value=value, attr=attribute):
                return _attribute(self.resolve(value), attribute)
            case ast.Subscript(value=value):
                return _item(self.resolve(value))
            case ast.Call(func=function):
                called = self.resolve(function)
                if isinstance(called, Thing) and _is_class(called.value):
                    return Made(called.value)
        return None


def globals_of(function: FunctionType) -> dict[str, object]:
    """All that the function sees from outside: its module's names and what it closes over."""
    visible: dict[str, object] = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            visible[name] = cell.cell_contents
        except ValueError:  # not bound yet
            visible.pop(name, None)
    return visible


def names_of(known: Known | None) -> tuple[str, ...]:
    """The dotted names under which a thing is defined."""
    match known:
        case Named(names=names):
            return names
        case Thing(value=value):
            return _names(value)
    return ()


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a function's body, without what stands in the functions and classes inside it."""
    waiting = [function.body] if isinstance(function, ast.Lambda) else list(getattr(function, "body", ()))
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, SCOPES):
            waiting.extend(ast.iter_child_nodes(node))


def _bindings(function: ast.AST) -> Iterator[tuple[str, Binding]]:
    if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        given = function.args
        for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
            if argument is not None:
                yield argument.arg, None
    nodes = list(own_nodes(function))
    plain: set[ast.AST] = set()
    for node in nodes:
        match node:
            case (
                ast.Assign(targets=[ast.Name() as target], value=value)
                | ast.AnnAssign(target=ast.Name() as target, value=ast.expr() as value)
                | ast.NamedExpr(target=target, value=value)
            ):
                plain.add(target)
                yield target.id, value
            case ast.Import() | ast.ImportFrom():
                yield from _imports(node)
            case (
                ast.FunctionDef(name=str(name))
                | ast.AsyncFunctionDef(name=str(name))
                | ast.ClassDef(name=str(name))
            ):
                yield name, None
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                yield name, None
            case ast.MatchMapping(rest=str(name)):
                yield name, None
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del) and node not in plain:
            yield node.id, None


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Known | None]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            # A relative import names the project's own code: nothing to warn of.
            found = _attribute(_module(node.module), alias.name) if node.module and not node.level else None
            yield alias.asname or alias.name, found
        elif alias.asname:
            yield alias.asname, _module(alias.name)
        else:
            yield alias.name.partition(".")[0], _module(alias.name.partition(".")[0])


def _module(name: str) -> Known:
    # Only the standard library is safe to import here; what else the handler imports may act on import.
    if name in sys.stdlib_module_names:
        return Thing(importlib.import_module(name))
    return Thing(sys.modules[name]) if name in sys.modules else Named((name,))


def _attribute(known: Known | None, attribute: str) -> Known | None:
    match known:
        case Named(names=names, made=made):
            return Named(tuple(f"{name}.{attribute}" for name in names), made)
        case Made(cls=cls):
            return Named(_method_names(cls, attribute), made=True)
        case Thing(value=value) if _is_class(value) or issubclass(type(value), ModuleType):
            try:
                return Thing(getattr(value, attribute))
            except Exception:  # noqa: BLE001 (a descriptor may raise anything: abstract models do)
                return None
        case Thing(value=value) if not issubclass(type(value), FUNCTIONS):
            return Named(_method_names(_class_of(value), attribute))
    return None


def _item(known: Known | None) -> Known | None:
    if isinstance(known, Thing) and not _is_class(known.value):
        return Named(tuple(f"{_class_name(each)}[]" for each in _class_of(known.value).__mro__))
    return None


def _names(value: object) -> tuple[str, ...]:
    if issubclass(type(value), ModuleType):
        return (str(vars(value)["__name__"]),)
    if _is_class(value):
        return (_class_name(value),)
    if issubclass(type(value), FUNCTIONS):
        owner = getattr(value, "__self__", None)
        if owner is not None and not issubclass(type(owner), ModuleType):
            return _method_names(owner if _is_class(owner) else type(owner), getattr(value, "__name__", ""))
        return (f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', '')}",)
    return ()


def _method_names(cls: type, method: str) -> tuple[str, ...]:
    return tuple(f"{_class_name(each)}.{method}" for each in cls.__mro__)


def _class_name(cls: type) -> str:
    return f"{PUBLIC_NAMES.get(cls.__module__, cls.__module__)}.{cls.__qualname__}"


def _class_of(value: object) -> type:
    # type() and not isinstance(), here and above: isinstance() asks for __class__, which wakes lazy objects.
    if type(value) is ConnectionProxy:  # `connection` and `cache` are both of this class
        return type(vars(value)["_connections"])
    return type(value)


def _is_class(value: object) -> TypeGuard[type]:
    return issubclass(type(value), type)
