"""Checks of `Q_CLUSTER`, the settings of django-q2.

They read the dict itself, merged as `django_q.conf` merges it: importing `django_q` here would make it
impossible to report what stops that import.
"""

from __future__ import annotations

import importlib.util
import math
import os
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import cpu_count
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections
from django.utils.module_loading import import_string

# What django-q2 takes when a key is left out (django_q/conf.py).
DEFAULT_RETRY = 60
DEFAULT_BULK = 1

# Time in which a killed task's worker is replaced and its message is acknowledged.
RETRY_MARGIN = 30

RECOMMENDED = (
    'Q_CLUSTER = {"name": "project", "orm": "default", "workers": 4, "queue_limit": 1, "bulk": 1, "poll": 0.03, '
    '"timeout": 300, "retry": 1000, "ack_failures": True, "max_attempts": 3, "save_limit": -1, "catch_up": False}'
)

# Broker keys in the order in which django-q2 looks at them, with the packages each one's broker imports.
BROKER_PACKAGES = {
    "iron_mq": ("iron_mq",),
    "sqs": ("boto3",),
    "orm": (),
    "mongo": ("pymongo",),
    "django_redis": ("redis", "django_redis"),
    "redis": ("redis",),
}


@dataclass(frozen=True)
class Cluster:
    """The effective settings of one cluster, and where in the project's settings they stand."""

    label: str
    own: dict[str, Any]
    effective: dict[str, Any]

    def says(self, *keys: str) -> bool:
        """True if one of the keys is this cluster's own, so that faults are reported where they stand."""
        return self.label == "Q_CLUSTER" or any(key in self.own for key in keys)


def check_queue(**_: Any) -> list[CheckMessage]:
    """E004 to E009 and W001 to W004: a broker that works, timeouts that fit, names of clusters that exist."""
    configured = getattr(settings, "Q_CLUSTER", {})
    if not isinstance(configured, dict):
        return [
            Error(
                f"Q_CLUSTER is {reprlib.repr(configured)}, not a dict of settings.",
                hint=f"Paste this: {RECOMMENDED}",
                id="django_workflow.E004",
            )
        ]
    messages = list(_names(configured))
    for cluster in _clusters(configured):
        messages += _broker(cluster)
        messages += _timing(cluster)
    return messages


def _clusters(configured: dict[str, Any]) -> Iterator[Cluster]:
    yield Cluster("Q_CLUSTER", configured, configured)
    alternatives = configured.get("ALT_CLUSTERS")
    for name, own in alternatives.items() if isinstance(alternatives, dict) else ():
        if isinstance(own, dict):
            yield Cluster(f"Q_CLUSTER['ALT_CLUSTERS'][{name!r}]", own, {**configured, **own})


def _names(configured: dict[str, Any]) -> Iterator[CheckMessage]:
    main = {
        configured.get("name", "default"),
        configured.get("cluster_name", configured.get("name", "default")),
    }
    alternatives = configured.get("ALT_CLUSTERS")
    known = main | set(alternatives if isinstance(alternatives, dict) else ())

    asked_for = os.environ.get("Q_CLUSTER_NAME")
    if asked_for and asked_for not in known:
        yield Error(
            f"The environment's Q_CLUSTER_NAME is {asked_for!r}, but Q_CLUSTER has no ALT_CLUSTERS entry of that "
            "name: django-q2 fails at import with KeyError, or runs the cluster with another one's settings.",
            hint=f'Add "ALT_CLUSTERS": {{"{asked_for}": {{...}}}} to Q_CLUSTER, or unset Q_CLUSTER_NAME.',
            id="django_workflow.E009",
        )

    ours = getattr(settings, "DJANGO_WORKFLOW", {})
    wanted = ours.get("CLUSTER") if isinstance(ours, dict) else None
    if isinstance(wanted, str) and wanted and wanted not in known:
        yield Warning(
            f"DJANGO_WORKFLOW['CLUSTER'] is {wanted!r}, but no cluster of that name is in Q_CLUSTER: "
            "nobody reads the queue that wakes the workflows up.",
            hint=f'Add "ALT_CLUSTERS": {{"{wanted}": {{...}}}} to Q_CLUSTER and run it with '
            f"Q_CLUSTER_NAME={wanted}, or take one of {', '.join(map(repr, sorted(map(str, known))))}.",
            id="django_workflow.W004",
        )


def _broker(cluster: Cluster) -> Iterator[CheckMessage]:
    conf = cluster.effective
    # With `sync` tasks run inside the call that enqueues them: no broker is asked.
    if conf.get("sync") or not cluster.says("broker_class", *BROKER_PACKAGES):
        return
    if conf.get("broker_class"):
        yield from _custom_broker(cluster.label, conf["broker_class"])
        return

    key = next((key for key in BROKER_PACKAGES if _chosen(conf, key)), None)
    missing = [package for package in BROKER_PACKAGES[key or "redis"] if not _importable(package)]
    if missing:
        chosen = f"takes the broker {key!r}" if key else "names no broker, so that django-q2 takes Redis"
        yield Error(
            f"{cluster.label} {chosen}, but the package {missing[0]!r} is not installed: no task can be queued.",
            hint=f"Install {missing[0]!r}, or keep the queue in the database: {RECOMMENDED}",
            id="django_workflow.E006",
        )
    elif key is None:
        yield Warning(
            f"{cluster.label} names no broker, so that django-q2 takes a Redis server at localhost:6379.",
            hint='Say so with "redis": {"host": "localhost", "port": 6379}, or keep the queue in the database: '
            f"{RECOMMENDED}",
            id="django_workflow.W001",
        )
    elif key == "orm" and conf["orm"] not in connections:
        yield Error(
            f"{cluster.label}['orm'] is {conf['orm']!r}, which is not in DATABASES: no task can be queued.",
            hint=f"Take one of {', '.join(map(repr, connections))}.",
            id="django_workflow.E005",
        )


def _chosen(conf: dict[str, Any], key: str) -> bool:
    # An empty dict is enough for these two: all of their options have defaults.
    return bool(conf.get(key)) or (key in ("sqs", "redis") and conf.get(key) == {})


def _custom_broker(label: str, path: object) -> Iterator[CheckMessage]:
    try:
        import_string(str(path))
    except ImportError as error:
        yield Error(
            f"{label}['broker_class'] is {path!r}, which can't be imported: {error}.",
            hint="Correct the dotted path of the broker's class.",
            id="django_workflow.E006",
        )


def _importable(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _timing(cluster: Cluster) -> Iterator[CheckMessage]:
    conf, label = cluster.effective, cluster.label
    if not cluster.says("timeout", "retry", "workers", "queue_limit", "bulk"):
        return
    timeout, retry = conf.get("timeout"), conf.get("retry", DEFAULT_RETRY)
    if not timeout:
        yield Warning(
            f"{label} sets no 'timeout': a task that runs longer than its 'retry' of {retry} s is started again "
            "while it still runs.",
            hint='Set both, the longest time of a task first: "timeout": 300, "retry": 1000.',
            id="django_workflow.W002",
        )
    elif isinstance(retry, bool) or not isinstance(retry, int | float):
        yield Error(
            f"{label}['retry'] is {retry!r}, not a number of seconds: no task can be fetched.",
            hint='Set it above the longest time of a task: "timeout": 300, "retry": 1000.',
            id="django_workflow.E007",
        )
    elif type(timeout) is not int:
        # signal.alarm() takes whole seconds only; django-q2 hands the value on as it is.
        yield Error(
            f"{label}['timeout'] is {timeout!r}, not a whole number: every task fails before its first line.",
            hint=f'Set whole seconds: "timeout": {_whole(timeout)}.',
            id="django_workflow.E007",
        )
    elif retry <= timeout:
        yield Error(
            f"{label} has a 'retry' of {retry} s and a 'timeout' of {timeout} s: a task that is still running is "
            "started a second time.",
            hint=f'Set "retry": {_safe_retry(conf, timeout)} or more.',
            id="django_workflow.E008",
        )
    elif retry < _safe_retry(conf, timeout) and _redelivers(conf):
        yield Warning(
            f"{label} has a 'retry' of {retry} s: its clock starts when a task is fetched, and one that waits "
            f"behind others of {timeout} s is started a second time.",
            hint=f'Set "retry": {_safe_retry(conf, timeout)} or more, or fetch less ahead: '
            '"queue_limit": 1, "bulk": 1.',
            id="django_workflow.W003",
        )


def _whole(timeout: object) -> int:
    return max(1, math.ceil(timeout)) if isinstance(timeout, float) and math.isfinite(timeout) else 300


def _safe_retry(conf: dict[str, Any], timeout: int) -> int:
    """Seconds after which a task that was fetched last, behind a full queue of slow ones, must have ended."""
    workers = int(conf.get("workers") or cpu_count())
    queue_limit = conf.get("queue_limit", workers**2)
    waiting: int = math.ceil((queue_limit + conf.get("bulk", DEFAULT_BULK)) / workers)
    return timeout * (1 + waiting) + RETRY_MARGIN


def _redelivers(conf: dict[str, Any]) -> bool:
    """Redis hands a task out once and for all; every other broker offers it again after `retry`."""
    return any(conf.get(key) for key in ("broker_class", "iron_mq", "sqs", "orm", "mongo"))


def check_shared_cache(**_: Any) -> list[CheckMessage]:
    """W011, for `check --deploy`: django-q2 tells of its clusters through the cache, which has to be a shared one."""
    configured = getattr(settings, "Q_CLUSTER", {})
    name = configured.get("cache", "default") if isinstance(configured, dict) else "default"
    backend = getattr(settings, "CACHES", {}).get(name, {}).get("BACKEND", "")
    if not str(backend).endswith(("LocMemCache", "DummyCache")):
        return []
    return [
        Warning(
            f"django-q2 writes the state of its clusters to the cache {name!r}, a {backend.rpartition('.')[2]} that each "
            "process has for itself: qmonitor, qinfo and the web processes see no cluster, though it runs.",
            hint='Give it a cache that processes share (Redis, Memcached, the database), or name one with "cache" in '
            "Q_CLUSTER. Workflows don't depend on it: whether work gets done shows in the age of the oldest due work.",
            id="django_workflow.W011",
        )
    ]
