"""`manage.py workflow export`: workflows with their journals as golden journals, one file each.

Rules of this file: a file that is there is never written over; a golden journal that changes proves nothing.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from django_workflow.management.exits import usage
from django_workflow.management.output import Output
from django_workflow.management.verb import Verb
from django_workflow.manager import workflow


class Export(Verb):
    """Write golden journals."""

    name = "export"
    help = "Write workflows with their journals as golden journals, for workflow_replay. Payloads are in them in clear."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which workflows, and where to."""
        parser.add_argument("ids", nargs="+", metavar="ID", help="workflow ids")
        parser.add_argument(
            "--output",
            type=Path,
            metavar="DIR|FILE",
            help="a folder (made if need be, for several workflows too), or a file; standard output without it",
        )
        parser.add_argument(
            "--with-secrets",
            action="store_true",
            help="also names of REDACT and tracebacks, which are masked without it; all else is in clear anyway",
        )

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Write them."""
        ids, output = options["ids"], options["output"]
        if output is None and len(ids) > 1:
            raise usage("several workflows need --output DIR: each gets a file of its own")
        # All of them before the first is written: an id with a typo leaves nothing half done.
        journals = [workflow.export(each, with_secrets=options["with_secrets"]) for each in ids]
        if output is None:
            out.write(journals[0], ending="")
            return
        several = len(ids) > 1
        written = [_write(journal, _file(Path(output), journal, several)) for journal in journals]
        if out.json:
            out.document({"written": written})
            return
        for each in written:
            masked = f", {each['masked']:,} values masked" if each["masked"] else ""
            out.line(f"{each['file']}: {each['steps']:,} steps{masked}")
        out.line(
            "Arguments, results and errors are in clear in there: keep it like the database itself.", "paused"
        )


def _file(output: Path, journal: str, several: bool) -> Path:
    if output.suffix and not (several or output.is_dir()):
        return output
    about = json.loads(journal)["workflow"]
    return output / f"{re.sub(r'[^A-Za-z0-9._-]', '_', about['definition'])}.{about['id']}.json"


def _write(journal: str, file: Path) -> dict[str, Any]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="ascii") as stream:
            stream.write(journal)
    except FileExistsError:
        raise usage(f"{file} is there already, and is not written over; give another --output.") from None
    except (OSError, ValueError) as error:
        raise usage(f"{file} can't be written: {error}; give another --output.") from None
    document = json.loads(journal)
    return {
        "id": document["workflow"]["id"],
        "file": str(file),
        "steps": len(document["steps"]),
        "masked": document.get("masked", 0),
    }
