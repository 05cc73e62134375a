"""Reads a handler's source for what no replay can repeat.

`inspect_handler` is pure: a function in, findings out. It follows the calls of functions of the same module,
since they run in the handler too; what is only handed over (to `run_action`, say) is not called. A line that
ends with `# workflow: deterministic` is left alone.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from django_workflow.checks import hazards
from django_workflow.checks.names import Known, Made, Named, Scope, Thing, globals_of, names_of, own_nodes
from django_workflow.handler.functions import mark_of

EXCUSED = re.compile(r"#\s*workflow:\s*deterministic\b")


@dataclass(frozen=True, order=True)
class Finding:
    """One place in the source, what is wrong with it, and what to write in its place."""

    path: str
    line: int
    what: str
    remedy: str


def inspect_handler(handler: Callable[..., Any]) -> list[Finding]:
    """What in this function's source a replay could not repeat, in the order of the lines.

    Returns:
        The findings; none where the source can't be read (a frozen app, an interactive session).
    """
    seen: set[FunctionType] = set()
    waiting = [inspect.unwrap(handler)]
    findings: set[Finding] = set()
    while waiting:
        function = waiting.pop()
        if isinstance(function, FunctionType) and function not in seen:
            seen.add(function)
            reader = _Reader(function)
            findings.update(reader.read())
            waiting.extend(reader.helpers)
    return sorted(findings)


class _Reader:
    """Reads one function. `helpers` grows: the functions of the same module that it calls."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.helpers: list[Callable[..., Any]] = []
        self.package = str(function.__module__).partition(".")[0]
        self.lines: list[str] = []
        self.first = 1

    def read(self) -> Iterator[Finding]:
        try:
            self.lines, self.first = inspect.getsourcelines(self.function)
            tree = ast.parse(textwrap.dedent("".join(self.lines)))
        except (OSError, TypeError, SyntaxError):
            return
        if tree.body and isinstance(tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef):
            yield from self._scope(Scope(tree.body[0], globals_of(self.function)), tree.body[0])

    def _scope(self, scope: Scope, function: ast.AST) -> Iterator[Finding]:
        for node in own_nodes(function):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                    yield from self._scope(Scope(node, scope), node)
                case ast.Call():
                    yield from self._call(scope, node)
                case ast.Subscript(ctx=ast.Load()):
                    yield from self._subscript(scope, node)
                case ast.For(iter=iterated) | ast.AsyncFor(iter=iterated):
                    yield from self._loop(scope, iterated)
                case ast.ListComp(generators=generators) | ast.DictComp(generators=generators):
                    for generator in generators:
                        yield from self._loop(scope, generator.iter)

    def _call(self, scope: Scope, call: ast.Call) -> Iterator[Finding]:
        called = scope.resolve(call.func)
        if isinstance(called, Thing) and type(called.value) is FunctionType:
            if mark := mark_of(called.value):
                yield from self._finding(
                    call, f"{_shown(call.func)}()", _unstepped(str(mark.kind), _shown(call.func))
                )
                return
            self._follow(called.value)
        hazard = self._hazard(called, bare=not call.args and not call.keywords)
        if hazard is not None:
            yield from self._finding(call, f"{_shown(call.func)}()", hazard)

    def _subscript(self, scope: Scope, node: ast.Subscript) -> Iterator[Finding]:
        found = scope.resolve(node)
        hazard = hazards.find(names_of(found), bare=True, exactly=True)
        if hazard is not None:
            yield from self._finding(node, _shown(node), hazard)

    def _loop(self, scope: Scope, iterated: ast.expr) -> Iterator[Finding]:
        match iterated:
            case ast.Set(elts=elements):
                # Numbers hash to themselves: their order is the same everywhere.
                unordered = not all(_is_number(each) for each in elements)
            case ast.SetComp():
                unordered = True
            case _:
                made = scope.resolve(iterated)
                unordered = isinstance(made, Made) and made.cls in (set, frozenset)
        if unordered:
            yield from self._finding(iterated, f"A loop over {_shown(iterated)}", hazards.UNORDERED_SET)

    def _hazard(self, called: Known | None, *, bare: bool) -> hazards.Hazard | None:
        if isinstance(called, Thing) and BaseException in getattr(called.value, "__mro__", ()):
            return None  # raising requests.Timeout asks no network
        # A project's own package may be called like one of the table's: an app `requests`, say.
        names = [name for name in names_of(called) if name.partition(".")[0] != self.package]
        # What the code made itself was judged where it was made: Random(7).choice() is as good as its seed.
        return hazards.find(names, bare=bare, exactly=isinstance(called, Named) and called.made)

    def _follow(self, called: FunctionType) -> None:
        if called.__module__ == self.function.__module__:
            self.helpers.append(inspect.unwrap(called))

    def _finding(self, node: ast.expr, what: str, hazard: hazards.Hazard) -> Iterator[Finding]:
        last = node.end_lineno or node.lineno
        if any(EXCUSED.search(line) for line in self.lines[node.lineno - 1 : last]):
            return
        path = self.function.__code__.co_filename
        yield Finding(path, self.first + node.lineno - 1, f"{what} {hazard.why}", hazard.remedy)


def _unstepped(kind: str, function: str) -> hazards.Hazard:
    return hazards.Hazard(
        "is called directly, so it is no step and runs again at every replay",
        f"Call it with `await step.run_{kind}({function}, …)`.",
    )


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _shown(node: ast.expr) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
