"""The smallest workload through the command line, and the figures of which the result is made."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.workloads import exponent

ROOT = Path(__file__).resolve().parents[2]


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_smallest_run_writes_its_figures_as_json(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    files = [f"--table={tmp_path / 'result.txt'}", f"--svg={tmp_path / 'result.svg'}"]
    ran = benchmarks(
        "w1a", "--database=sqlite", "--workers=1", "--size=1", "--rounds=1", f"--json={file}", *files
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "W1A  1 workflows of 10 mutations" in ran.stdout
    result = json.loads(file.read_text())
    assert {"machine", "workers", "rounds", "workloads"} == result.keys()
    (workload,) = result["workloads"]
    assert workload["size"] == {"workflows": 1, "steps": 10, "kind": "mutations"}
    assert len(workload["load"]["before"]) == 3
    (system,) = workload["systems"]
    assert (system["system"], system["database"]) == ("django_workflow", "sqlite")
    (seconds,) = system["samples_s"]["seconds"]
    figures = system["figures"]
    assert figures["workflows_per_s"] == pytest.approx(1 / seconds)
    assert figures["steps_per_s"] == pytest.approx(10 / seconds)
    assert figures["statements_per_step"] > 0
    # Each workflow is started by one INSERT, whatever else the engine does.
    started = [
        n for text, n in figures["statements_by_text"].items() if 'INTO "django_workflow_workflow"' in text
    ]
    assert started == [1]


def smallest(folder: Path, *workloads: str) -> dict[str, list[dict[str, Any]]]:
    """The systems of each workload, run in the smallest size."""
    files = [f"--{kind}={folder / kind}" for kind in ("json", "table", "svg")]
    few = ("--database=sqlite", "--broker=orm", "--workers=1", "--size=2", "--rounds=1")
    ran = benchmarks(*workloads, *few, *files)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert all((folder / kind).stat().st_size for kind in ("json", "table", "svg"))
    written = json.loads((folder / "json").read_text())["workloads"]
    return {each["workload"]: each["systems"] for each in written}


def test_workloads_of_plain_workers_run_in_the_smallest_size(tmp_path: Path) -> None:
    systems = smallest(tmp_path, "w2c", "w4", "w7")

    (napping,), (fanned_out,), (empty, full) = systems["w2c"], systems["w4"], systems["w7"]
    assert napping["figures"]["exponent"] is not None
    assert fanned_out["figures"]["seconds"] > 0
    assert (empty["variant"], full["variant"]) == ("empty tables", "full tables")
    drawn = benchmarks("w4", f"--from={tmp_path / 'json'}")
    assert drawn.stdout.strip() in (tmp_path / "table").read_text()
    assert drawn.stdout.startswith("W4  one workflow of 2 actions at once")
    assert full["figures"]["over_empty"] == full["figures"]["seconds"] / empty["figures"]["seconds"]


@pytest.mark.cluster
def test_workloads_of_a_cluster_run_in_the_smallest_size(tmp_path: Path) -> None:
    systems = smallest(tmp_path, "w5a", "w8")

    (sleeping,), (idle,) = systems["w5a"], systems["w8"]
    assert len(sleeping["samples_s"]["seconds"]) == 2
    assert min(sleeping["samples_s"]["seconds"]) >= 0
    # django-q2's ORM broker asks its table again and again, whatever we do.
    assert idle["figures"]["polls_per_s"] > idle["figures"]["statements_per_s"] > 0
    assert idle["figures"]["cpu_percent"] > 0


def test_an_unknown_workload_is_refused_by_name() -> None:
    ran = benchmarks("w9")

    assert ran.returncode == 2
    assert "'w9' is no workload; there are w1, w1a, w1b, w2, w2a, w2b, w2c, w3, w4" in ran.stderr


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_the_power_law_behind_the_points(power: float) -> None:
    sizes = [100, 1000, 3000]

    assert exponent(sizes, [0.3 * size**power for size in sizes]) == pytest.approx(power)


def test_one_size_has_no_exponent() -> None:
    assert exponent([100], [1.0]) is None
