"""The demo from its start to its end: database, processes, documents, progress, stop.

Every process that was started is stopped, however the demo ends.
"""

import fcntl
import signal
import socket
import time
from pathlib import Path
from types import FrameType
from typing import IO

from django.contrib.auth import get_user_model
from django.core.management import call_command

from example_project import demo_settings
from example_project.demo.corpus import collect
from example_project.demo.processes import Child, stop
from example_project.demo.progress import Progress
from example_project.demo.release import DemoRelease
from example_project.demo.screen import Screen, open_screen
from example_project.documents.ingest import add_file

HOST = "127.0.0.1"
LOOK = 0.25  # seconds between two looks at the database
PATIENCE = 30.0  # seconds for a clean stop
WEB_START = 30.0  # seconds


class AlreadyRunning(Exception):
    """Another demo works on the same folder."""

    def __init__(self, folder: Path) -> None:
        """Name the folder."""
        super().__init__(
            f"The demo runs already, in {folder}. Stop it first, or set DEMO_DATABASE to another file."
        )


class NoFreePort(Exception):
    """All ports near the one that was asked for are taken."""

    def __init__(self, first: int, last: int) -> None:
        """Name the ports."""
        super().__init__(f"No port from {first} to {last} can be had on {HOST}. Name another with --port.")


class Demo:
    """One run of the demo."""

    def __init__(self, *, once: bool, port: int) -> None:
        """Prepare; nothing happens yet.

        Args:
            once: stop when every document has ended, and the release, which then needs nobody to decide; instead of
                waiting for Ctrl-C.
            port: where the admin is to be found, if it is free.
        """
        self.once = once
        self.folder = demo_settings.DEMO_FOLDER
        self.signals = 0
        self.progress = Progress()
        self.release = DemoRelease(decides=once)
        self.screen: Screen = open_screen()
        self.port = port
        self.cluster = Child("cluster", ["qcluster"], self.folder / "cluster.log")
        self.web: Child | None = None

    def run(self) -> int:
        """Do it all; return the exit code."""
        self.catch_signals()
        with open_folder(self.folder):
            try:
                self.prepare_database()
                self.start_processes()
                self.ingest()
                with self.screen:
                    self.watch()
                self.screen.say("Stopping the cluster and the web server (Ctrl-C again: at once) …")
            finally:
                self.stop_processes()
            self.screen.say("Stopped. Start it again and it goes on where it was.")
            self.screen.say(f"To begin anew, delete {demo_settings.DEMO_DATABASE} first.")
        return 1 if self.once and not self.all_ended else 0

    def catch_signals(self) -> None:
        """Count the requests to stop, instead of being torn out of whatever is going on."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.on_signal)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note a request to stop."""
        self.signals += 1

    def is_stopping(self) -> bool:
        """True once there was a request to stop."""
        return self.signals > 0

    def prepare_database(self) -> None:
        """Create the tables, or bring them up to date, and the login."""
        self.screen.say(f"Preparing the database {demo_settings.DEMO_DATABASE} …")
        call_command("migrate", verbosity=0, interactive=False)
        name, password = demo_settings.DEMO_LOGIN
        users = get_user_model()._default_manager
        if not users.filter(username=name).exists():
            users.create_superuser(username=name, password=password)

    def start_processes(self) -> None:
        """Start the cluster and the web server, and wait until the latter answers."""
        if self.is_stopping():
            return
        self.cluster.start()
        self.screen.say(
            f"Started the cluster, process group {self.cluster.pid}; its log is {self.cluster.log}"
        )
        self.port = free_port(self.port)
        web = ["runserver", f"{HOST}:{self.port}", "--noreload"]
        self.web = Child("web server", web, self.folder / "web.log")
        self.web.start()
        self.screen.say(f"Started the web server, process group {self.web.pid}; its log is {self.web.log}")
        until = time.monotonic() + WEB_START
        while not self.is_stopping() and not answers(self.port) and time.monotonic() < until:
            self.restart_dead()
            time.sleep(LOOK)
        self.screen.say(self.footer)

    def ingest(self) -> None:
        """Start a workflow for each document that isn't there from an earlier run."""
        if self.is_stopping():
            return
        titles = collect(self.folder / "samples")
        added = 0
        for file, title in titles.items():
            if self.is_stopping():
                return
            added += add_file(file, title) is not None
        self.screen.say(f"Added {added} documents; {len(titles) - added} were there already.")

    def watch(self) -> None:
        """Show the progress, and start again what dies, until it is time to stop."""
        while not self.is_stopping():
            self.restart_dead()
            self.screen.show(self.progress, self.progress.look(), self.footer)
            if news := self.release.look():
                self.screen.say(news)
            if self.once and self.all_ended:
                return
            time.sleep(LOOK)

    def restart_dead(self) -> None:
        """Start a process again that has ended; workflows that it was at go on where they were."""
        for child in self.children:
            ending = child.restart_if_dead()
            if ending is not None:
                self.screen.say(
                    f"The {child.name} died ({ending}): started again, process group {child.pid}."
                )

    def stop_processes(self) -> None:
        """Stop them; one more signal kills them."""
        before = self.signals
        stop(self.children, PATIENCE, impatient=lambda: self.signals > before)

    @property
    def children(self) -> list[Child]:
        """The processes that there are."""
        return [self.cluster, self.web] if self.web else [self.cluster]

    @property
    def all_ended(self) -> bool:
        """True iff there were documents and none is in progress any more, nor is the release."""
        return 0 < self.progress.total == self.progress.ended and self.release.ended

    @property
    def footer(self) -> str:
        """Where to look, and what to try."""
        name, password = demo_settings.DEMO_LOGIN
        return (
            f"Documents: http://{HOST}:{self.port}/\n"
            f"Admin: http://{HOST}:{self.port}/admin/ (user {name}, password {password}).\n"
            f"Kill the cluster in the middle and see it go on: kill -9 -- -{self.cluster.pid}\n"
            "Stop: Ctrl-C."
        )


def open_folder(folder: Path) -> IO[str]:
    """Make the folder, kept out of Git, and hold its lock until the returned file is closed.

    Raises:
        AlreadyRunning: another process holds the lock.
    """
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n")
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise AlreadyRunning(folder) from None
    return lock


def free_port(first: int) -> int:
    """Return the first port from this one on, of twenty, that nobody listens at."""
    last = min(first + 19, 65535)
    for port in range(first, last + 1):
        with socket.socket() as candidate:
            # As runserver does: a port whose last connections linger is free.
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((HOST, port))
            except OSError:
                continue
            return port
    raise NoFreePort(first, last)


def answers(port: int) -> bool:
    """Say whether somebody listens at a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
