"""A PostgreSQL and a Redis of one's own, for what is stopped, restarted or emptied; the shared ones never are.

Rules of this file: each listens on a free port of 127.0.0.1 in a folder of its own, and both are gone when their block
ends, or the process that started them dies. They are started by the main thread.
"""

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final, Self

START_SECONDS: Final = 30.0
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_libc = ctypes.CDLL(None)


class _Server:
    """A server process in a folder of its own."""

    def __init__(self, name: str, user: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.port = _free_port()
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        if user is not None:
            shutil.chown(self.folder, user)

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def prepare(self) -> None:
        """Do what is done once, before the first start."""

    def command(self) -> Sequence[str | Path]:
        """What starts it."""
        raise NotImplementedError

    def answers(self) -> bool:
        """True iff it can be used."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self._user,
                preexec_fn=_heed_signals,
                start_new_session=True,
            )
        gives_up_at = monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or monotonic() >= gives_up_at:
                raise RuntimeError(
                    f"It does not answer:\n{(self.folder / 'log').read_text(errors='replace')}"
                )
            Event().wait(0.02)

    def stop(self, how: signal.Signals) -> None:
        """Send it a signal, and wait for its end."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def _remove(self) -> None:
        try:
            self.stop(signal.SIGQUIT)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


class OwnPostgres(_Server):
    """PostgreSQL with one superuser, `postgres`, who needs no password."""

    def __init__(self) -> None:
        # It refuses to be run by root.
        super().__init__("postgres", _other_user() if os.geteuid() == 0 else None)

    def prepare(self) -> None:
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [_postgres("initdb"), f"--pgdata={self.folder / 'data'}", *options],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            user=self._user,
        )

    def command(self) -> Sequence[str | Path]:
        # Only the server dies here, never the machine: what the kernel was given is there after a restart.
        options = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=200",
        ]
        given = [argument for option in options for argument in ("-c", option)]
        return [_postgres("postgres"), "-D", self.folder / "data", "-p", str(self.port), *given]

    def answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def restart(self, *, immediately: bool) -> None:
        """Stop and start it: every connection breaks, what was not committed is rolled back.

        Args:
            immediately: it drops everything, as when it is killed, and recovers at its start; else it says good-bye.
        """
        self.stop(signal.SIGQUIT if immediately else signal.SIGINT)
        self.start()


class OwnRedis(_Server):
    """Redis that keeps nothing on a disk."""

    def __init__(self) -> None:
        super().__init__("redis")

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        return [_redis(), *options]

    def answers(self) -> bool:
        import redis

        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def forget_everything(self) -> None:
        """FLUSHALL: all messages are lost."""
        import redis

        with redis.Redis.from_url(self.url) as client:
            client.flushall()


# ── where they are ───────────────────────────────────────────────────────────────────────────────────────────────


def missing_postgres() -> str | None:
    """Why there can be no PostgreSQL of one's own; None when there can."""
    try:
        _postgres("initdb")
        _postgres("postgres")
    except FileNotFoundError as error:
        return str(error)
    return None


def missing_redis() -> str | None:
    """Why there can be no Redis of one's own; None when there can."""
    try:
        _redis()
    except FileNotFoundError as error:
        return str(error)
    return None


def _postgres(program: str) -> Path:
    """A program of the server: beside `pg_config`, on PATH, or where Debian puts it, the newest first."""
    for folder in _postgres_folders():
        if (folder / program).is_file():
            return folder / program
    raise FileNotFoundError(f"no {program} (PostgreSQL's server programs)")


def _postgres_folders() -> Iterator[Path]:
    yield from sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True
    )
    if config := shutil.which("pg_config"):
        said = subprocess.run([config, "--bindir"], check=False, capture_output=True, text=True)
        yield Path(said.stdout.strip())
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent


def _redis() -> str:
    found = shutil.which("redis-server")
    if found is None:
        raise FileNotFoundError("no redis-server")
    return found


def _other_user() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise FileNotFoundError("no user that PostgreSQL could run as")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _heed_signals() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
    # Shells let what runs in the background ignore these two, and so do all of its children.
    for each in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(each, signal.SIG_DFL)
