"""Runs the test suite on every database that answers: ``python -m tests.run_matrix [--jobs N] [pytest arguments]``.

* SQLite always; PostgreSQL, MariaDB and Redis where a real login succeeds; what is not used is printed with the reason.
* A browser, on SQLite, where Chromium, its driver and axe-core are found (`make browser`).
* PostgreSQL and SQLite once more on Python 3.13 with Django 6.1, in ``.venv-3.13``, where that interpreter exists,
  without sweeps and clusters.
* Each test runs wherever it could turn out differently: SQLite runs all, and what a suite leaves out stands beside it.
* With ``CI=true`` a server that does not answer, or a missing browser, is a failure, not a gap.

Two suites run side by side, the longest first, each into a log of its own under ``.test-logs/``, printed whole when the
suite ends.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.browser import chromium
from tests.servers import MARIADB, POSTGRES, REDIS_URL

ROOT: Final = Path(__file__).resolve().parent.parent
LOGS: Final = ROOT / ".test-logs"
LATEST_PYTHON: Final = "3.13"
LATEST_DJANGO: Final = "django>=6.1,<6.2"
LATEST_VENV: Final = ROOT / f".venv-{LATEST_PYTHON}"
LOGIN_SECONDS: Final = 3
STILL_RUNNING_SECONDS: Final = 60
# So that the two that end last end together.
LONGEST_FIRST: Final = (
    "sqlite",
    "postgres",
    "mariadb",
    f"sqlite-python{LATEST_PYTHON}",
    f"postgres-python{LATEST_PYTHON}",
)
# pytest's exit codes: the two that are no failure of a suite.
PASSED, NOTHING_COLLECTED = 0, 5


@dataclass(frozen=True)
class Suite:
    """One run of the tests: an interpreter, a database, the markers that it leaves out, and what else is set."""

    name: str
    python: Path
    database: str
    without: frozenset[str] = field(default_factory=frozenset)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    def command(self, pytest_arguments: Sequence[str]) -> list[str]:
        # A cache of its own: suites that run side by side would overwrite each other's --last-failed.
        cache = f"cache_dir={ROOT / '.pytest_cache' / self.name}"
        return [str(self.python), "-m", "pytest", "-o", cache, *pytest_arguments]

    def environment(self) -> Mapping[str, str]:
        asked = {name for name in os.environ.get("WITHOUT", "").split(",") if name}
        # Compiled once, and not by each suite and each process that a test starts: a tenth of the time.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        without = ",".join(sorted(asked | self.without))
        return {**inherited, **self.variables, "DATABASE": self.database, "WITHOUT": without}


@dataclass(frozen=True)
class Ended:
    """A suite that has ended, with pytest's exit code and the seconds that it took."""

    suite: Suite
    exit_code: int
    seconds: float


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.run_matrix", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="suites side by side")
    options, pytest_arguments = parser.parse_known_args(arguments)
    in_ci = os.environ.get("CI") == "true"

    silent = [*_silent_servers(), *_missing_browser()]
    if silent and in_ci:
        print(f"CI needs every server and a browser, and there is no: {', '.join(silent)}.")
        return 1
    suites = [*_suites_on(Path(sys.executable), silent), *_suites_on_latest(silent)]
    suites.sort(key=lambda suite: LONGEST_FIRST.index(suite.name))
    ended = _run(suites, pytest_arguments, jobs=options.jobs)
    return _summary(ended)


# ── which servers answer ──────────────────────────────────────────────────────────────────────────────────────────


def _silent_servers() -> list[str]:
    print("sqlite: used")
    return [name for name, login in SERVERS.items() if not _answers(name, login)]


def _answers(name: str, login: Callable[[], None]) -> bool:
    try:
        login()
    except Exception as error:  # noqa: BLE001 - whatever it is, this server can't be used; it is printed
        reason = str(error).strip().splitlines() or [type(error).__name__]
        print(f"{name}: NOT used, {reason[0]}")
        return False
    print(f"{name}: used")
    return True


def _missing_browser() -> list[str]:
    gaps = chromium.missing()
    print(f"browser: NOT used, no {', no '.join(gaps)} (make browser)" if gaps else "browser: used")
    return ["browser"] if gaps else []


def _login_postgres() -> None:
    import psycopg

    psycopg.connect(
        host=POSTGRES.host,
        port=POSTGRES.port,
        user=POSTGRES.user,
        password=POSTGRES.password,
        dbname="postgres",
        connect_timeout=LOGIN_SECONDS,
    ).close()


def _login_mariadb() -> None:
    import pymysql

    pymysql.connect(
        host=MARIADB.host,
        port=MARIADB.port,
        user=MARIADB.user,
        password=MARIADB.password,
        connect_timeout=LOGIN_SECONDS,
    ).close()


def _login_redis() -> None:
    import redis

    with redis.Redis.from_url(REDIS_URL, socket_connect_timeout=LOGIN_SECONDS) as client:
        client.ping()


SERVERS: Final = {"postgres": _login_postgres, "mariadb": _login_mariadb, "redis": _login_redis}


# ── which suites there are ────────────────────────────────────────────────────────────────────────────────────────


# The demo has an SQLite file of its own, whatever the tests run on, and pages look the same: SQLite does for both. Tests
# that ask for no database know none, and a replay in memory (`checked`) asks it nothing. A turn that is cut short
# (`suspended`) asks for the same as one that is not; the sweeps of simulation/ and engine/, which die at its commits, are
# on every database in both modes. Who may use a door is decided before anything is asked for.
SAME_ON_SERVERS: Final = frozenset(
    {
        "demo",
        "browser",
        "pure",
        "checked",
        "suspended",
        "admin/test_permissions.py",
        "contracts/",
        "links/",
        "openapi/",
        "rest/test_permissions.py",
    }
)
# What asks the database plainly: once with a server is enough.
PLAIN: Final = frozenset({"commands/", "golden/", "rest/test_verbs.py", "stream/"})


def _suites_on(python: Path, silent: Sequence[str]) -> Iterator[Suite]:
    absent = {"redis", "browser"} & set(silent)
    yield Suite("sqlite", python, "sqlite", frozenset(absent))
    if "postgres" not in silent:
        yield Suite("postgres", python, "postgres", SAME_ON_SERVERS | absent)
    if "mariadb" not in silent:
        # A real cluster is slow, and its processes do the same on every server: once with SQLite's one writer and
        # once with PostgreSQL's many is enough.
        yield Suite("mariadb", python, "mariadb", SAME_ON_SERVERS | PLAIN | absent | {"cluster"})


def _suites_on_latest(silent: Sequence[str]) -> Iterator[Suite]:
    found = _latest_python()
    if found is None:
        print(f"python {LATEST_PYTHON}: NOT used, no such interpreter on PATH or in ~/.pyenv/versions")
        return
    print(f"python {LATEST_PYTHON}: used, {found}")
    python = _latest_venv(found)
    # What is asked of these is whether Python and Django have changed something: sweeps, clusters and full tables don't
    # tell, nor do turns that are cut short. SQLite shows all but the SQL and the types that Django makes for PostgreSQL: that is in
    # the engine and its journal.
    absent = {"redis"} & set(silent)
    sized = {"benchmarks/", "load/"}
    without = frozenset({"demo", "browser", "slow", "cluster", "checked", "suspended", *sized, *absent})
    yield Suite(f"sqlite-python{LATEST_PYTHON}", python, "sqlite", without | {"rest/test_permissions.py"})
    if "postgres" not in silent:
        once = {"admin/", "behaviours/", "rest/"}
        yield Suite(
            f"postgres-python{LATEST_PYTHON}",
            python,
            "postgres",
            without | SAME_ON_SERVERS | PLAIN | once,
            # Statements that PostgreSQL prepares have other types for their parameters: once is enough for these, too.
            {"PREPARED": "1"},
        )


def _latest_python() -> Path | None:
    on_path = shutil.which(f"python{LATEST_PYTHON}")
    installed = sorted(Path.home().glob(f".pyenv/versions/{LATEST_PYTHON}*/bin/python"))
    for candidate in [*([Path(on_path)] if on_path else []), *installed]:
        # pyenv puts a python3.13 on PATH that does no more than say it is not switched on.
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def _latest_venv(interpreter: Path) -> Path:
    """Makes the environment, or brings it up to date when pyproject.toml is newer; returns its interpreter."""
    python = LATEST_VENV / "bin" / "python"
    stamp = LATEST_VENV / ".installed"
    if stamp.exists() and stamp.stat().st_mtime >= (ROOT / "pyproject.toml").stat().st_mtime:
        return python
    print(f"Installing the package and {LATEST_DJANGO} into {LATEST_VENV.name} …", flush=True)
    subprocess.run([interpreter, "-m", "venv", LATEST_VENV], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*install, "--editable", f"{ROOT}[test,example,postgres,mysql,redis]", LATEST_DJANGO], check=True
    )
    stamp.touch()
    return python


# ── running them ──────────────────────────────────────────────────────────────────────────────────────────────────


def _run(suites: Sequence[Suite], pytest_arguments: Sequence[str], jobs: int) -> list[Ended]:
    LOGS.mkdir(exist_ok=True)
    if jobs == 1 or len(suites) == 1:
        return [_run_in_the_open(suite, pytest_arguments) for suite in suites]
    ended: list[Ended] = []
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        waiting = {pool.submit(_run_into_log, suite, pytest_arguments) for suite in suites}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=STILL_RUNNING_SECONDS, return_when=FIRST_COMPLETED)
                ended.extend(_report(future) for future in done)
                if not done:
                    print("… still running", flush=True)
        except KeyboardInterrupt:
            # The suites under way got the same Ctrl-C and are dropping their databases: let them, begin no other.
            pool.shutdown(cancel_futures=True)
            raise
    return ended


def _run_in_the_open(suite: Suite, pytest_arguments: Sequence[str]) -> Ended:
    print(f"\n━━ {suite.name}", flush=True)
    started = time.monotonic()
    code = subprocess.run(
        suite.command(pytest_arguments), env=suite.environment(), cwd=ROOT, check=False
    ).returncode
    return Ended(suite, code, time.monotonic() - started)


def _run_into_log(suite: Suite, pytest_arguments: Sequence[str]) -> Ended:
    print(f"{suite.name}: running, output in {suite.log.relative_to(ROOT)}", flush=True)
    started = time.monotonic()
    with suite.log.open("w") as log:
        code = subprocess.run(
            suite.command(pytest_arguments),
            env=suite.environment(),
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    return Ended(suite, code, time.monotonic() - started)


def _report(future: Future[Ended]) -> Ended:
    ended = future.result()
    print(f"\n━━ {ended.suite.name}\n{ended.suite.log.read_text(errors='replace')}", flush=True)
    return ended


def _summary(ended: Sequence[Ended]) -> int:
    print("\n━━ summary")
    for each in ended:
        word = {PASSED: "passed", NOTHING_COLLECTED: "no tests"}.get(each.exit_code, "FAILED")
        print(f"{word:<8} {each.suite.name:<22} {each.seconds:6.0f} s")
    codes = {each.exit_code for each in ended}
    return 0 if PASSED in codes and codes <= {PASSED, NOTHING_COLLECTED} else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as failed:
        sys.exit(f"{LATEST_VENV.name} could not be set up: {failed}")
