"""System checks for what breaks in practice.

`msg` is the problem, `hint` the remedy, with the settings to paste; an id never changes its meaning.
Errors are what loses work, runs it twice or stops a cluster; warnings are what is slow or likely wrong.

| ids | module | about |
|---|---|---|
| E001 to E003, E013 | `settings` | `DJANGO_WORKFLOW`, `INSTALLED_APPS` |
| E004 to E009, W001 to W004 | `queue` | `Q_CLUSTER` |
| E010 to E012, W005 to W009 | `databases` | the journal's database and the models beside it |
| W010 | `handlers` | what the source of the handlers does |
| W011 | `queue` | the cache that django-q2 tells of its clusters through; only with `check --deploy` |
"""

from django.core.checks import Tags, register

from django_workflow.checks.databases import check_databases, check_live_databases, check_mutations_alias
from django_workflow.checks.handlers import check_handlers
from django_workflow.checks.queue import check_queue, check_shared_cache
from django_workflow.checks.settings import check_installed_apps, check_settings

__all__ = ["register_all"]


def register_all() -> None:
    """Make all checks known to Django; for `AppConfig.ready()`. Doing it twice changes nothing."""
    for check in (
        check_settings,
        check_installed_apps,
        check_queue,
        check_databases,
        check_mutations_alias,
        check_handlers,
    ):
        register(check, "django_workflow")
    # Only with `check --deploy`: while one develops, Django's default cache is as good as any.
    register(check_shared_cache, "django_workflow", deploy=True)
    # Only run when a database is asked for (`check --database`, `migrate`): they connect to it.
    register(check_live_databases, Tags.database, "django_workflow")
