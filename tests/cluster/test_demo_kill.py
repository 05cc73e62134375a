"""The demo's promise: kill its cluster in the middle, and every document still ends, once."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "example_project.demo", "--once"]


@pytest.mark.demo
@pytest.mark.cluster
@pytest.mark.timeout(240)
def test_every_document_ends_once_though_its_cluster_is_killed(tmp_path: Path) -> None:
    database = tmp_path / "demo" / "db.sqlite3"
    environment = {**os.environ, "DEMO_DATABASE": str(database), "DEMO_COOLING_OFF": "2"}
    demo = subprocess.Popen(DEMO, env=environment, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        shown = _kill_in_the_middle(demo, kills=2)
    finally:
        if demo.poll() is None:
            demo.terminate()
        demo.wait()
    assert demo.returncode == 0, shown
    assert shown.count("The cluster died (killed by SIGKILL)") == 2

    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT d.title, d.revision, w.state FROM documents_document d"
            " JOIN django_workflow_workflow w ON w.id = d.workflow_id"
        ).fetchall()
    connection.close()
    assert len(rows) > 20
    assert {state for *_, state in rows} == {"completed", "failed"}
    # A document that is saved counts it: what completed was saved once, what failed never.
    assert [row for row in rows if row[1] != (row[2] == "completed")] == []


def _kill_in_the_middle(demo: "subprocess.Popen[str]", kills: int) -> str:
    """Kill the cluster's process group each time another few documents have ended. Returns all that was printed."""
    assert demo.stdout is not None
    shown, group, ended_at_kill = "", 0, 0
    for line in demo.stdout:
        shown += line
        if started := re.search(r"(?:Started the cluster|The cluster died .*), process group (\d+)", line):
            group = int(started[1])
        ended = re.match(r"(\d+) of (\d+) documents have ended", line)
        if ended and kills and group and int(ended[1]) >= ended_at_kill + 5:
            ended_at_kill, kills = int(ended[1]), kills - 1
            os.killpg(group, signal.SIGKILL)
            group = 0
    demo.stdout.close()
    return shown
