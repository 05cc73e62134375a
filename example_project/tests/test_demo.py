"""The demo: its parts, and the whole of it with a real cluster, from a start on nothing to a stop without a trace."""

import io
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from django_workflow.testing import Harness
from example_project.demo.corpus import LIMIT, collect
from example_project.demo.processes import PROJECT, Child, KeepsDying, stop
from example_project.demo.progress import Ending, Progress
from example_project.demo.release import DemoRelease
from example_project.demo.run import HOST, AlreadyRunning, NoFreePort, free_port, open_folder
from example_project.demo.screen import PlainScreen
from example_project.documents.extract import UnreadableDocument, kind_of, text_of
from example_project.documents.models import Document
from example_project.publishing.models import Release
from example_project.tests.conftest import DocumentFactory

DEMO = [sys.executable, "-m", "example_project.demo"]


def test_the_documents_are_those_of_this_machine_and_three_are_unreadable(tmp_path: Path) -> None:
    files = collect(tmp_path / "samples")

    assert 24 <= len(files) <= LIMIT
    assert files[PROJECT / "LICENSE"] == "LICENSE"
    assert any(title.startswith("django 5") or title.startswith("django 6") for title in files.values())
    unreadable = []
    for file in files:
        try:
            assert text_of(file.read_bytes(), kind_of(file.name))
        except UnreadableDocument as error:
            unreadable.append((file.name, str(error).partition(":")[0]))
    assert unreadable[:3] == [
        ("empty.txt", "empty file"),
        ("broken.pdf", "broken PDF"),
        ("undecodable.txt", "byte 0xfc at position 2 is not UTF-8"),
    ]
    assert collect(tmp_path / "samples") == files


def test_progress_counts_and_tells_each_ending_once(
    workflow_harness: Harness, add_document: DocumentFactory
) -> None:
    add_document("roses.txt", "roses")
    add_document("empty.txt", "")
    progress = Progress()
    assert progress.look() == []
    assert (progress.ended, progress.total) == (0, 2)

    workflow_harness.drain()
    assert [ending.state for ending in progress.look()] == ["failed"]
    workflow_harness.advance(settings.COOLING_OFF)
    (ending,) = progress.look()
    assert (ending.state, ending.detail) == ("completed", "roses")
    assert progress.look() == []
    assert progress.endings[0].detail == "UnreadableDocument: empty file"
    assert (progress.ended, progress.total) == (2, 2)


@pytest.mark.django_db
def test_a_document_without_a_workflow_has_ended() -> None:
    Document.objects.create(path="/somewhere/roses.txt")
    progress = Progress()
    assert [ending.state for ending in progress.look()] == ["cleaned up"]
    assert progress.ended == progress.total == 1


def test_the_demo_plans_a_release_that_waits_for_whoever_sits_there(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEMO_DATABASE", raising=False)
    release = DemoRelease(decides=False)
    assert release.look() is None
    assert release.ended
    for title in ("Roses", "Tulips", "Daisies"):
        Document.objects.create(title=title, published_at=timezone.now())

    said = release.look()
    number = Release.objects.get().pk
    assert said == f"Release {number} (The first three) is being prepared."
    workflow_harness.drain()
    assert str(release.look()).endswith(
        f"manage.py approve {number} --settings example_project.demo_settings   (or add --reject)"
    )
    assert release.look() is None
    assert not release.ended

    call_command("approve", str(number), "--reject", stdout=io.StringIO())
    workflow_harness.drain()
    assert release.look() == f"Release {number} (The first three) has ended: Refused: somebody has said no"
    assert release.ended


def test_the_demo_approves_its_release_where_nobody_sits(workflow_harness: Harness) -> None:
    for title in ("Roses", "Tulips", "Daisies"):
        Document.objects.create(title=title, published_at=timezone.now())
    release = DemoRelease(decides=True)
    release.look()
    workflow_harness.drain()

    assert str(release.look()).endswith("has the demo's approval.")
    assert release.look() is None
    workflow_harness.drain()
    assert "has ended: appears on" in str(release.look())


def test_plain_lines_repeat_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.counts = Counter({"in progress": 2, "failed": 1})
    screen = PlainScreen()
    screen.show(progress, [Ending("empty.txt", "failed", "UnreadableDocument: empty file")], "the footer")
    screen.show(progress, [], "the footer")
    assert capsys.readouterr().out.splitlines() == [
        "failed     empty.txt: UnreadableDocument: empty file",
        "1 of 3 documents have ended: 1 failed, 2 in progress",
    ]


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port(port) < port + 20


def test_without_a_free_port_the_range_is_named() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 65535))
        taken.listen()
        with pytest.raises(NoFreePort, match="No port from 65535 to 65535 can be had"):
            free_port(65535)


def test_two_demos_in_one_folder_are_refused(tmp_path: Path) -> None:
    with open_folder(tmp_path / "demo"), pytest.raises(AlreadyRunning, match="runs already"):
        open_folder(tmp_path / "demo")
    open_folder(tmp_path / "demo").close()
    assert (tmp_path / "demo" / ".gitignore").read_text() == "*\n"


def test_a_killed_process_is_started_again_and_stopped_in_the_end(tmp_path: Path) -> None:
    child = Child("shell", ["shell", "-c", "import time; time.sleep(600)"], tmp_path / "log")
    child.start()
    try:
        assert child.restart_if_dead() is None
        first = child.pid
        os.killpg(first, signal.SIGKILL)
        assert child.process is not None
        child.process.wait()
        assert child.restart_if_dead() == "killed by SIGKILL"
        assert child.pid != first
    finally:
        stop([child], patience=30, impatient=lambda: False)
    assert gone(child.pid)


def test_a_process_that_cannot_run_is_given_up_with_its_log(tmp_path: Path) -> None:
    child = Child("web server", ["no-such-command"], tmp_path / "log")
    child.start()
    with pytest.raises(
        KeepsDying, match=r"(?s)The web server ended 3 times .*Unknown command: 'no-such-command'"
    ):
        for _ in range(3):
            assert child.process is not None
            child.process.wait()
            child.restart_if_dead()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables for a demo in a folder of its own."""
    return {
        **os.environ,
        "DEMO_DATABASE": str(tmp_path / "demo" / "db.sqlite3"),
        "DEMO_COOLING_OFF": "1",
        "COLUMNS": "160",
        "LINES": "40",
        "TERM": "xterm",
    }


@pytest.mark.demo
@pytest.mark.cluster
@pytest.mark.slow
def test_the_demo_ends_all_documents_and_leaves_no_process(environment: dict[str, str]) -> None:
    first = run_once(environment)
    assert first.returncode == 0, first.stdout + first.stderr
    assert re.search(r"failed +samples/empty\.txt: UnreadableDocument: empty file", first.stdout)
    assert re.search(r"failed +samples/broken\.pdf: UnreadableDocument: broken PDF: .", first.stdout)
    assert re.search(
        r"failed +samples/undecodable\.txt: UnreadableDocument: byte 0xfc at position 2", first.stdout
    )
    assert re.search(r"completed +samples/durable\.pdf: .*workflow", first.stdout)
    assert re.search(r"Release 1 \(The first three\) has ended: appears on \d{4}-\d\d-\d\d", first.stdout)
    assert all(gone(group) for group in groups_in(first.stdout))

    second = run_once(environment)
    assert second.returncode == 0, second.stdout + second.stderr
    assert re.search(r"Added 0 documents; \d\d were there already", second.stdout)


@pytest.mark.demo
@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("request_to_stop", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_in_a_terminal_stops_when_asked(
    environment: dict[str, str], request_to_stop: signal.Signals
) -> None:
    terminal, inside = pty.openpty()
    demo = subprocess.Popen(DEMO, env=environment, cwd=PROJECT, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    try:
        shown = read_until(terminal, "Last to end")
        address = re.search(r"http://[\d.:]+/admin/", shown)
        assert address is not None
        with urllib.request.urlopen(f"{address.group()}login/") as page:  # noqa: S310 - an address of the demo
            assert "Log in" in page.read().decode()
    finally:
        demo.send_signal(request_to_stop)
        shown += read_until(terminal, None)
        os.close(terminal)
    assert demo.wait() == 0, shown
    assert "Stopped. Start it again and it goes on where it was." in shown
    assert all(gone(group) for group in groups_in(shown))


@pytest.mark.demo
@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_a_killed_demo_leaves_no_process(environment: dict[str, str]) -> None:
    demo = subprocess.Popen(DEMO, env=environment, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    shown = ""
    for line in demo.stdout:
        shown += line
        if line.startswith("Added"):
            break
    ends = [os.pidfd_open(group) for group in groups_in(shown)]
    demo.kill()
    demo.wait()
    demo.stdout.close()
    assert len(ends) == 2
    for end in ends:
        assert select.select([end], [], [], 60)[0], "a process lives on after a minute"
        os.close(end)


def run_once(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the demo until all documents have ended; after 110 seconds, kill it."""
    return subprocess.run(
        [*DEMO, "--once"],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def read_until(terminal: int, wanted: str | None) -> str:
    """Read what is shown, until a text is among it or, without one, until the terminal is closed."""
    shown = b""
    while wanted is None or wanted.encode() not in shown:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux: EIO when the last process has closed its side
            part = b""
        if not part:
            break
        shown += part
    return shown.decode(errors="replace")


def groups_in(shown: str) -> list[int]:
    """The process groups that the demo has named."""
    groups = [int(group) for group in re.findall(r"process group (\d+)", shown)]
    assert groups
    return groups


def gone(group: int) -> bool:
    """True iff no process is left in the group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_death_that_is_told_twice_stops_a_child_once() -> None:
    script = (
        "import os, signal\n"
        "from example_project.demo.child import DEMO_DIED, stop_once\n"
        "told = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: (told.append(1), os.kill(os.getpid(), DEMO_DIED)))\n"
        "signal.signal(DEMO_DIED, stop_once)\n"
        "os.kill(os.getpid(), DEMO_DIED)\n"
        "print(len(told))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
