"""The app: checks, every app's `workflows.py`, and the hooks into the cluster."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class DjangoWorkflowConfig(AppConfig):
    """`"django_workflow"` in INSTALLED_APPS."""

    name = "django_workflow"
    verbose_name = "Workflows"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_workflow import checks
        from django_workflow.cluster import lifecycle

        checks.register_all()
        lifecycle.connect()
        autodiscover_modules("workflows")
