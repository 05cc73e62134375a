"""The environments in which peers run: made when they are first asked for, and made anew when a version changes.

They lie in `.environments/` beside this file, which git ignores. A peer that can't be installed here is no error of the
benchmark: `NotInstalled` says what was tried.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / ".environments"


class NotInstalled(Exception):
    """This peer can't be measured here; the text says why."""


@dataclass(frozen=True)
class Environment:
    """What a peer needs, in exact versions."""

    name: str
    python: Sequence[str]  # for pip
    npm: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return FOLDER / self.name

    @property
    def interpreter(self) -> str:
        """Its Python; the environment has to be made first."""
        return str(self.folder / "bin" / "python")

    def make(self) -> None:
        """See to it that it is there. Raises `NotInstalled`."""
        done = self.folder / "installed.txt"
        wanted = "\n".join([sys.version, *self.python, *self.npm])
        if done.exists() and done.read_text() == wanted:
            return
        print(f"Installing {', '.join([*self.python, *self.npm])} …", file=sys.stderr, flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._run(sys.executable, "-m", "venv", str(self.folder))
        self._run(
            self.interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self.python
        )
        if self.npm:
            npm = shutil.which("npm")
            if npm is None:
                raise NotInstalled(
                    f"{self.name}: npm, which installs {', '.join(self.npm)}, is not on the PATH"
                )
            self._run(
                npm, "install", "--prefix", str(self.folder / "npm"), "--no-audit", "--no-fund", *self.npm
            )
        done.write_text(wanted)

    def _run(self, *command: str) -> None:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            last = (ran.stderr or ran.stdout).strip().splitlines()[-1:]
            raise NotInstalled(f"{self.name}: `{' '.join(command)}` failed: {' '.join(last)}")


DBOS = Environment("dbos", ["dbos==3.4.0", "psycopg[binary]==3.3.9"])
# absurdctl has the schema that the SDK works on.
ABSURD = Environment("absurd", ["absurd-sdk==0.5.1", "absurdctl==0.5.1"])
RESTATE = Environment(
    "restate", ["restate-sdk==1.3.0", "hypercorn==0.18.0"], ["@restatedev/restate-server@1.7.12"]
)
