"""What is in the wheel: the package, whole, and nothing else."""

import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from tests.contracts.markdown import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by hatchling as it is installed: no download."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = folder.glob("*.whl")
    return file


def _read(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"django_durable_workflow-0.1.0.dist-info/{name}").decode()


def test_it_is_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "django_workflow").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert packed == package
    assert {"django_workflow/py.typed", "django_workflow/migrations/0001_initial.py"} <= packed


def test_it_runs_on_any_platform(wheel: Path) -> None:
    assert wheel.name == "django_durable_workflow-0.1.0-py3-none-any.whl"


def test_it_says_what_it_needs(wheel: Path) -> None:
    metadata = message_from_string(_read(wheel, "METADATA"))
    assert metadata["Requires-Python"] == ">=3.11"
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {line.partition(">")[0] for line in needed}
    assert names == {"croniter", "django", "django-q2", "djangorestframework", "pydantic"}
    assert "# django_workflow" in str(metadata.get_payload())


def test_it_brings_the_pytest_plugin_and_the_licence(wheel: Path) -> None:
    assert "[pytest11]\ndjango_workflow = django_workflow.testing.plugin" in _read(wheel, "entry_points.txt")
    assert _read(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()
