"""The example project as it is run: its own settings, a web server, a cluster, and schemathesis at its address.

Part of `make fuzz` only, where the database is SQLite or PostgreSQL.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from benchmarks.databases import temporary
from tests.cluster.qcluster import eventually
from tests.contracts.markdown import ROOT
from tests.fuzz.stage import ALL
from tests.servers import POSTGRES

MANAGE = [sys.executable, str(ROOT / "manage.py")]
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
EXAMPLES = 30  # of each operation and phase
# A login of its own for each: the cookies by which a browser would be known, without a page in between.
USERS = """
import json
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
sessions = import_module(settings.SESSION_ENGINE)
told = {}
for name, make in (("boss", User.objects.create_superuser), ("nobody", User.objects.create_user)):
    user = make(name)
    session = sessions.SessionStore()
    session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session.create()
    told[name] = session.session_key
print(json.dumps(told))
"""
CSRF = "a" * 32


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The example, with an empty database: its address, and its users' sessions by name."""
    database = settings.DATABASE
    with ExitStack() as stack:
        name = stack.enter_context(temporary(database))
        environment = {
            **{key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"},
            "DATABASE": database,
            "DEMO_DATABASE": name,
            "PGHOST": POSTGRES.host,
            "PGPORT": str(POSTGRES.port),
            "PGUSER": POSTGRES.user,
            "PGPASSWORD": POSTGRES.password,
            "PGDATABASE": name,
        }

        def manage(*arguments: str) -> str:
            done = subprocess.run(
                [*MANAGE, *arguments], env=environment, cwd=folder, check=True, capture_output=True, text=True
            )
            return done.stdout

        manage("migrate", "--verbosity", "0")
        sessions = json.loads(manage("shell", "--verbosity", "0", "--command", USERS).splitlines()[-1])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for number, command in enumerate((["qcluster"], ["runserver", "--noreload", f"127.0.0.1:{port}"])):
            log = stack.enter_context((folder / f"{number}.log").open("wb"))
            child = subprocess.Popen(
                [*MANAGE, *command],
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            stack.callback(child.wait)
            stack.callback(child.terminate)
        address = f"http://127.0.0.1:{port}"
        eventually(lambda: _answers(f"{address}/api/schema/"), "the example's web server", 60)
        health = f"{address}/api/health/"
        eventually(lambda: _answers(health, _cookies(sessions["boss"])), "the example's cluster", 60)
        yield address, sessions


def _cookies(session: str) -> dict[str, str]:
    return {"Cookie": f"sessionid={session}; csrftoken={CSRF}", "X-CSRFToken": CSRF}


def _answers(url: str, headers: dict[str, str] | None = None) -> bool:
    try:
        return httpx.get(url, headers=headers, timeout=10).is_success
    except httpx.TransportError:
        return False


if ALL and settings.DATABASE != "mariadb":

    @pytest.mark.slow
    @pytest.mark.timeout(7200)
    @pytest.mark.parametrize("who", ["boss", "nobody"])
    def test_no_answer_of_the_running_example_is_a_surprise(who: str, tmp_path: Path) -> None:
        with running(tmp_path) as (address, sessions):
            headers = [f"--header={name}: {value}" for name, value in _cookies(sessions[who]).items()]
            asked = subprocess.run(
                [
                    str(Path(sys.executable).with_name("schemathesis")),
                    "run",
                    f"{address}/api/schema/",
                    f"--checks={','.join(CHECKS)}",
                    # It has no end while the workflow has none: see tests/stream/.
                    "--exclude-operation-id=workflow_stream",
                    f"--max-examples={EXAMPLES}",
                    "--continue-on-failure",
                    "--warnings=off",
                    "--seed=20261127",
                    *headers,
                ],
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            told = asked.stdout + asked.stderr
            assert asked.returncode == 0, f"{told}\n{(tmp_path / '1.log').read_text()[-4000:]}"
            assert "No issues found" in told, told
            assert _answers(f"{address}/api/health/", _cookies(sessions["boss"]))
