"""The health line: how things stand, and what is wrong, as sentences. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_workflow.windows.spans import span

if TYPE_CHECKING:
    from django_workflow.health import Health

NAMED = 10  # definitions that no worker knows


@dataclass(frozen=True)
class Weather:
    """What the line says."""

    ok: bool
    facts: tuple[str, ...]
    problems: tuple[str, ...]
    pauses: tuple[str, ...]


def weather(health: Health) -> Weather:
    """The health as text."""
    return Weather(health.ok, tuple(_facts(health)), tuple(_problems(health)), tuple(_pauses(health)))


def _facts(health: Health) -> list[str]:
    oldest = (
        _("nothing is due")
        if health.oldest_due is None
        else _("oldest due %(span)s") % {"span": span(health.oldest_due)}
    )
    facts = [oldest]
    if health.ticker_seen is not None:
        facts.append(_("ticker %(span)s ago") % {"span": span(health.ticker_seen)})
    workers = sum(cluster.workers for cluster in health.clusters)
    busy = sum(cluster.busy for cluster in health.clusters)
    clusters = len(health.clusters)
    counted = (
        ngettext("%(n)s cluster", "%(n)s clusters", clusters) % {"n": clusters},
        ngettext("%(n)s worker", "%(n)s workers", workers) % {"n": workers},
        _("%(n)s busy") % {"n": busy},
    )
    return [*facts, ", ".join(counted)]


def _problems(health: Health) -> list[str]:
    # The same as `Health.problems`, in the reader's language.
    found = []
    if health.ticker_seen is None:
        found.append(_("no ticker leads: is a cluster running?"))
    if health.oldest_due is not None and health.oldest_due > health.patience and not health.pauses:
        found.append(_("due work has waited for %(span)s") % {"span": span(health.oldest_due)})
    found += [
        _("no live worker knows '%(definition)s' v%(version)s: restart qcluster?")
        % {"definition": definition, "version": version}
        for definition, version in health.unknown[:NAMED]
    ]
    return found


def _pauses(health: Health) -> list[str]:
    return [
        _("all clusters are paused: %(reason)s") % {"reason": pause.reason}
        if pause.cluster is None
        else _('cluster "%(cluster)s" is paused: %(reason)s')
        % {"cluster": pause.cluster or _("default"), "reason": pause.reason}
        for pause in health.pauses
    ]
