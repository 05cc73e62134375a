"""The verbs that do something: `start`, `cancel`, `restart`, `fork`, `cleanup`, `event`, `pause`, `resume`."""

from __future__ import annotations

import argparse
from typing import Any

from django_workflow.handler import registry
from django_workflow.management import arguments
from django_workflow.management.asking import show, wait_for
from django_workflow.management.documents import event_document, redacted, values_of
from django_workflow.management.exits import Ended, Exit, usage
from django_workflow.management.output import Output
from django_workflow.management.verb import Verb, each_of
from django_workflow.manager import workflow

OPTIONS = ("key", "labels", "run_at", "run_after", "priority")


class Start(Verb):
    """Start a workflow."""

    name = "start"
    help = "Start a workflow. Values are JSON; a bare word that is no JSON is a text."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What to start, with which arguments, and how."""
        parser.add_argument("definition", metavar="DEFINITION", help="its name, e.g. shop.checkout")
        parser.add_argument(
            "values", nargs="*", type=arguments.value, metavar="ARG", help="arguments by position"
        )
        parser.add_argument(
            "--arg", action="append", type=arguments.pair, metavar="NAME=VALUE", help="an argument by name"
        )
        parser.add_argument(
            "--args",
            dest="named",
            type=arguments.arguments,
            metavar="JSON",
            help="arguments by name as one object, @FILE with it, or - for standard input",
        )
        parser.add_argument("--key", help="the same key again starts no second one")
        parser.add_argument(
            "--label", action="append", type=arguments.pair, metavar="NAME=VALUE", help="to find it by"
        )
        when = parser.add_mutually_exclusive_group()
        when.add_argument("--run-at", type=arguments.moment, metavar="MOMENT", help="2031-01-31T09:00+01:00")
        when.add_argument("--run-after", type=arguments.duration, metavar="DURATION", help="30m, 12h, 1d12h")
        parser.add_argument("--priority", type=int, help="higher is more urgent; 0 without it")
        arguments.add_wait(parser)

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Start it."""
        definition = registry.newest(options["definition"])
        named = arguments.pairs(options["arg"], "--arg")
        given = options["named"] or {}
        if twice := sorted(named.keys() & given.keys()):
            raise usage(f"{twice[0]!r} is given twice, by --arg and by --args; give it once")
        options["labels"] = arguments.pairs(options["label"], "--label") or None
        chosen = {name: options[name] for name in OPTIONS if options[name] is not None}
        out.hidden = definition.redact
        run = definition.using(**chosen).start(*options["values"], **given, **named)
        if options["wait"] is not None:
            wait_for(run, options["wait"], out)
        elif out.json:
            show(workflow.get(run), out)
        else:
            out.line(str(run.pk))


class Cancel(Verb):
    """Cancel workflows."""

    name = "cancel"
    help = "Cancel workflows, and their children."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which ones, and why."""
        add_ids(parser)
        parser.add_argument("--reason", default="", help="for people")
        parser.add_argument("--rollback", action="store_true", help="run first what undoes their steps")

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Cancel each."""
        rollback = options["rollback"]

        def cancel(id: str) -> tuple[Exit, str]:
            if workflow.cancel(id, options["reason"], rollback):
                return Exit.DONE, "canceling: its rollbacks run first" if rollback else "canceled"
            run = workflow.get(id)
            return Exit.NO, f"had finished: {run.state}" if run.finished else "is canceling already"

        each_of(options["ids"], cancel, out)


class Restart(Verb):
    """Run handlers again."""

    name = "restart"
    help = "Run the handlers of finished or paused workflows again, on what is kept of their journals."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which ones, and from where."""
        add_ids(parser)
        start = parser.add_mutually_exclusive_group()
        start.add_argument(
            "--from-step", type=arguments.step, metavar="STEP", help="a number, or a name: the last of it"
        )
        start.add_argument("--from-failure", action="store_true", help="from the last failed step")

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Restart each."""

        def restart(id: str) -> tuple[Exit, str]:
            workflow.restart(id, options["from_step"], from_failure=options["from_failure"])
            return Exit.DONE, "restarted"

        each_of(options["ids"], restart, out)


class Fork(Verb):
    """Try another way."""

    name = "fork"
    help = "Start a new workflow with the settled steps of another one below a step."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Of which one, and from where."""
        parser.add_argument("id", metavar="ID")
        parser.add_argument(
            "--from-step", type=arguments.step, required=True, metavar="STEP", help="a number, or a name"
        )

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Fork it."""
        run = workflow.fork(options["id"], options["from_step"])
        if out.json:
            show(workflow.get(run), out)
        else:
            out.line(str(run.pk))


class Cleanup(Verb):
    """Delete workflows."""

    name = "cleanup"
    help = "Delete finished workflows with all that is their own."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which ones."""
        add_ids(parser)

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Delete each."""

        def clean_up(id: str) -> tuple[Exit, str]:
            if workflow.cleanup(id):
                return Exit.DONE, "deleted"
            return Exit.NOT_FOUND, "there is no such workflow"

        each_of(options["ids"], clean_up, out)


class SendEvent(Verb):
    """Send an event."""

    name = "event"
    help = "Send an event to a workflow."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """To which one, and what."""
        parser.add_argument("id", metavar="ID")
        parser.add_argument("event", metavar="NAME", help="of the event")
        carried = parser.add_mutually_exclusive_group()
        carried.add_argument("--value", type=arguments.value, metavar="JSON", help="null without it")
        carried.add_argument("--error", metavar="TEXT", help="raised where the event is waited for")
        parser.add_argument("--key", help="the same key again delivers nothing")

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Send it."""
        run = workflow.get(options["id"])
        out.hidden = redacted(run)
        sent = workflow.send_event(
            run, options["event"], options["value"], error=options["error"], key=options["key"]
        )
        if out.json:
            out.document({"id": str(run.pk), "event": event_document(sent, values_of(run))})
        else:
            out.line(f"sent {sent.name} to {run.pk}")


class Pause(Verb):
    """Hold everything."""

    name = "pause"
    help = "Hold all turns and steps, of one cluster or of all; starts and events are still taken."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Why, and what."""
        parser.add_argument("reason", metavar="REASON", help="for people; shown everywhere")
        add_cluster(parser)

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Pause."""
        workflow.pause(options["reason"], options["cluster"])
        if out.json:
            out.document({"paused": True, "cluster": options["cluster"], "reason": options["reason"]})
        else:
            out.line(f"paused: {_which(options['cluster'])}")


class Resume(Verb):
    """Let it go on."""

    name = "resume"
    help = "End a pause of the same cluster, or of all. Exits with 1 when there was none."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What."""
        add_cluster(parser)

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Resume."""
        held = workflow.resume(options["cluster"])
        which = _which(options["cluster"])
        if out.json:
            out.document({"resumed": held, "cluster": options["cluster"]})
        elif held:
            out.line(f"resumed: {which}")
        if not held:
            raise Ended(f"there was no pause of {which}", Exit.NO)


def add_ids(parser: argparse.ArgumentParser) -> None:
    """`ID…`."""
    parser.add_argument("ids", nargs="+", metavar="ID")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """`--cluster`."""
    parser.add_argument(
        "--cluster", metavar="NAME", help='of this cluster only; "" is the default one; without it of all'
    )


def _which(cluster: str | None) -> str:
    if cluster is None:
        return "all clusters"
    return f"the cluster {cluster}" if cluster else "the default cluster"
