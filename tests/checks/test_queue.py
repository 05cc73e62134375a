"""E004 to E009, W001 to W004 and W011: what is wrong with Q_CLUSTER."""

import importlib.machinery
import sys
from types import ModuleType
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, Warning, run_checks
from django.test import override_settings

from django_workflow.checks.queue import RECOMMENDED, check_queue, check_shared_cache

GOOD: dict[str, Any] = {
    "name": "project",
    "orm": "default",
    "workers": 4,
    "queue_limit": 1,
    "bulk": 1,
    "poll": 0.03,
    "timeout": 300,
    "retry": 1000,
}
NO_BROKER = {key: value for key, value in GOOD.items() if key != "orm"}


def check(configured: object, **ours: object) -> list[CheckMessage]:
    with override_settings(Q_CLUSTER=configured, DJANGO_WORKFLOW=ours):
        return check_queue()


@pytest.fixture(autouse=True)
def _no_cluster_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("Q_CLUSTER_NAME", raising=False)


@pytest.fixture(autouse=True)
def _packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed here: `redis` is, `pymongo` is not."""
    redis = ModuleType("redis")
    redis.__spec__ = importlib.machinery.ModuleSpec("redis", None)
    monkeypatch.setitem(sys.modules, "redis", redis)
    monkeypatch.setitem(sys.modules, "pymongo", None)


def test_the_recommended_settings_give_nothing() -> None:
    scope: dict[str, Any] = {}
    exec(RECOMMENDED, scope)  # noqa: S102 (what a hint tells users to paste must be what is checked)
    assert check(scope["Q_CLUSTER"]) == []


@pytest.mark.parametrize(
    "broker",
    [
        {"redis": {}},
        {"redis": "redis://localhost:6379/0"},
        {"broker_class": "collections.OrderedDict"},
        {"sync": True},
        {"redis": {"host": "cache"}, "ALT_CLUSTERS": {"reports": {"workers": 2}}},
    ],
)
def test_other_brokers_give_nothing(broker: dict[str, Any]) -> None:
    assert check({**NO_BROKER, **broker}) == []


def test_e004_not_a_dict() -> None:
    assert check("redis://localhost") == [
        Error(
            "Q_CLUSTER is 'redis://localhost', not a dict of settings.",
            hint=f"Paste this: {RECOMMENDED}",
            id="django_workflow.E004",
        )
    ]


def test_w001_no_broker_named() -> None:
    assert check(NO_BROKER) == [
        Warning(
            "Q_CLUSTER names no broker, so that django-q2 takes a Redis server at localhost:6379.",
            hint='Say so with "redis": {"host": "localhost", "port": 6379}, or keep the queue in the database: '
            f"{RECOMMENDED}",
            id="django_workflow.W001",
        )
    ]


def test_no_q_cluster_at_all_is_said_too() -> None:
    assert [each.id for each in check({})] == ["django_workflow.W001", "django_workflow.W002"]


def test_e005_the_queue_s_database_does_not_exist() -> None:
    assert check({**GOOD, "orm": "queue"}) == [
        Error(
            "Q_CLUSTER['orm'] is 'queue', which is not in DATABASES: no task can be queued.",
            hint="Take one of 'default'.",
            id="django_workflow.E005",
        )
    ]


def test_e005_in_an_alternative_cluster_is_reported_there() -> None:
    assert check({**GOOD, "ALT_CLUSTERS": {"reports": {"orm": "queue"}}}) == [
        Error(
            "Q_CLUSTER['ALT_CLUSTERS']['reports']['orm'] is 'queue', which is not in DATABASES: "
            "no task can be queued.",
            hint="Take one of 'default'.",
            id="django_workflow.E005",
        )
    ]


def test_e006_the_broker_s_package_is_missing() -> None:
    assert check({**NO_BROKER, "mongo": {"host": "db"}}) == [
        Error(
            "Q_CLUSTER takes the broker 'mongo', but the package 'pymongo' is not installed: "
            "no task can be queued.",
            hint=f"Install 'pymongo', or keep the queue in the database: {RECOMMENDED}",
            id="django_workflow.E006",
        )
    ]


def test_e006_no_broker_and_no_redis_to_fall_back_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    assert check(NO_BROKER) == [
        Error(
            "Q_CLUSTER names no broker, so that django-q2 takes Redis, but the package 'redis' is not "
            "installed: no task can be queued.",
            hint=f"Install 'redis', or keep the queue in the database: {RECOMMENDED}",
            id="django_workflow.E006",
        )
    ]


def test_e006_a_broker_class_that_can_not_be_imported() -> None:
    assert check({**NO_BROKER, "broker_class": "collections.Broker"}) == [
        Error(
            "Q_CLUSTER['broker_class'] is 'collections.Broker', which can't be imported: "
            'Module "collections" does not define a "Broker" attribute/class.',
            hint="Correct the dotted path of the broker's class.",
            id="django_workflow.E006",
        )
    ]


@pytest.mark.parametrize(("timeout", "whole"), [(2.5, 3), (float("inf"), 300), ("60", 300), (True, 300)])
def test_e007_timeout_is_no_whole_number(timeout: object, whole: int) -> None:
    assert check({**GOOD, "timeout": timeout}) == [
        Error(
            f"Q_CLUSTER['timeout'] is {timeout!r}, not a whole number: every task fails before its first line.",
            hint=f'Set whole seconds: "timeout": {whole}.',
            id="django_workflow.E007",
        )
    ]


def test_e007_retry_is_no_number() -> None:
    assert check({**GOOD, "retry": None}) == [
        Error(
            "Q_CLUSTER['retry'] is None, not a number of seconds: no task can be fetched.",
            hint='Set it above the longest time of a task: "timeout": 300, "retry": 1000.',
            id="django_workflow.E007",
        )
    ]


@pytest.mark.parametrize("retry", [60, 300])
def test_e008_retry_is_not_above_timeout(retry: int) -> None:
    assert check({**GOOD, "retry": retry}) == [
        Error(
            f"Q_CLUSTER has a 'retry' of {retry} s and a 'timeout' of 300 s: a task that is still running is "
            "started a second time.",
            hint='Set "retry": 630 or more.',
            id="django_workflow.E008",
        )
    ]


def test_e008_takes_django_q_s_own_default_of_60_s() -> None:
    without = {key: value for key, value in GOOD.items() if key != "retry"}
    assert [each.id for each in check({**without, "timeout": 60})] == ["django_workflow.E008"]


def test_w002_no_timeout() -> None:
    assert check({**GOOD, "timeout": None}) == [
        Warning(
            "Q_CLUSTER sets no 'timeout': a task that runs longer than its 'retry' of 1000 s is started again "
            "while it still runs.",
            hint='Set both, the longest time of a task first: "timeout": 300, "retry": 1000.',
            id="django_workflow.W002",
        )
    ]


@pytest.mark.parametrize(
    ("settings", "retry", "enough"),
    [
        # timeout × (1 + ceil((queue_limit + bulk) / workers)) + 30
        ({"workers": 4, "queue_limit": 1, "bulk": 1}, 629, 630),
        ({"workers": 4, "queue_limit": 16, "bulk": 1}, 1000, 1830),
        ({"workers": 4, "queue_limit": None}, 1000, 1830),
        ({"workers": 1, "queue_limit": 1, "bulk": 10}, 1000, 3630),
    ],
)
def test_w003_retry_is_too_short_for_what_is_fetched_ahead(
    settings: dict[str, Any], retry: int, enough: int
) -> None:
    configured = {**GOOD, **settings, "retry": retry}
    if settings["queue_limit"] is None:  # django-q2's default is the square of `workers`
        del configured["queue_limit"]
    assert check(configured) == [
        Warning(
            f"Q_CLUSTER has a 'retry' of {retry} s: its clock starts when a task is fetched, and one that waits "
            "behind others of 300 s is started a second time.",
            hint=f'Set "retry": {enough} or more, or fetch less ahead: "queue_limit": 1, "bulk": 1.',
            id="django_workflow.W003",
        )
    ]
    assert check({**configured, "retry": enough}) == []


def test_w003_is_not_said_of_redis_which_never_delivers_twice() -> None:
    assert check({**NO_BROKER, "redis": {"host": "localhost"}, "retry": 301}) == []


def test_e009_the_environment_names_an_unknown_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q_CLUSTER_NAME", "reports")
    assert check(GOOD) == [
        Error(
            "The environment's Q_CLUSTER_NAME is 'reports', but Q_CLUSTER has no ALT_CLUSTERS entry of that name: "
            "django-q2 fails at import with KeyError, or runs the cluster with another one's settings.",
            hint='Add "ALT_CLUSTERS": {"reports": {...}} to Q_CLUSTER, or unset Q_CLUSTER_NAME.',
            id="django_workflow.E009",
        )
    ]
    assert check({**GOOD, "ALT_CLUSTERS": {"reports": {}}}) == []
    assert check({**GOOD, "name": "reports"}) == []


def test_w004_our_cluster_is_unknown() -> None:
    assert check({**GOOD, "ALT_CLUSTERS": {"mail": {}}}, CLUSTER="reports") == [
        Warning(
            "DJANGO_WORKFLOW['CLUSTER'] is 'reports', but no cluster of that name is in Q_CLUSTER: "
            "nobody reads the queue that wakes the workflows up.",
            hint='Add "ALT_CLUSTERS": {"reports": {...}} to Q_CLUSTER and run it with Q_CLUSTER_NAME=reports, '
            "or take one of 'mail', 'project'.",
            id="django_workflow.W004",
        )
    ]
    assert check({**GOOD, "ALT_CLUSTERS": {"reports": {}}}, CLUSTER="reports") == []
    assert check(GOOD, CLUSTER="project") == []


def test_w011_a_cache_of_each_process_hides_the_clusters_from_the_others() -> None:
    caches = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    with override_settings(CACHES=caches, Q_CLUSTER=GOOD):
        assert check_shared_cache() == [
            Warning(
                "django-q2 writes the state of its clusters to the cache 'default', a LocMemCache that each process has "
                "for itself: qmonitor, qinfo and the web processes see no cluster, though it runs.",
                hint='Give it a cache that processes share (Redis, Memcached, the database), or name one with "cache" in '
                "Q_CLUSTER. Workflows don't depend on it: whether work gets done shows in the age of the oldest due work.",
                id="django_workflow.W011",
            )
        ]


@pytest.mark.django_db  # Django's own checks may ask the database for its version
def test_w011_a_shared_cache_is_fine_and_only_deployments_are_asked() -> None:
    shared = {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache"}
    caches = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}, "q": shared}
    with override_settings(CACHES=caches, Q_CLUSTER={**GOOD, "cache": "q"}):
        assert check_shared_cache() == []
    with override_settings(CACHES=caches, Q_CLUSTER=GOOD):
        asked = run_checks(tags=["django_workflow"], include_deployment_checks=False)
        deployed = run_checks(tags=["django_workflow"], include_deployment_checks=True)
    assert "django_workflow.W011" not in {message.id for message in asked}
    assert "django_workflow.W011" in {message.id for message in deployed}
