"""The names that the package promises, and that asking for them costs nothing."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import django_workflow
from tests.contracts.markdown import ROOT, names, table

HEAVY = ("asgiref", "django", "django_q", "pydantic", "rest_framework")


def test_the_exports_are_the_documented_ones() -> None:
    rows = table(ROOT / "docs" / "index.md", "What can be imported")
    documented = [name for row in rows for name in names(row[0])]
    assert sorted(documented) == sorted(django_workflow.__all__)


def test_every_export_can_be_imported() -> None:
    assert sorted(set(django_workflow.__all__)) == list(django_workflow.__all__)
    for name in django_workflow.__all__:
        assert getattr(django_workflow, name).__class__ is not None
    assert set(django_workflow.__all__) <= set(dir(django_workflow))


def test_type_checkers_see_every_export() -> None:
    tree = ast.parse(Path(str(django_workflow.__file__)).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert sorted(seen) == list(django_workflow.__all__)
    for name, module in seen.items():
        assert getattr(importlib.import_module(str(module)), name) is getattr(django_workflow, name)


def test_a_name_that_is_no_export_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'django_workflow' has no attribute 'Workflows'"):
        django_workflow.Workflows  # noqa: B018  asking for it is what is tested


@pytest.mark.parametrize(
    "module", ["django_workflow", "django_workflow.testing", "django_workflow.testing.plugin"]
)
def test_importing_it_imports_no_django(module: str) -> None:
    program = f"import sys, {module}; print(sorted(name for name in sys.modules if name.partition('.')[0] in {HEAVY!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "[]\n"
