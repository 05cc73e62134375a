"""The app: checks, every app's `workflows.py`, and the hooks into the cluster."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class DjangoWorkflowConfig(AppConfig):
    """`"django_workflow"` in INSTALLED_APPS."""

    name = "django_workflow"
    verbose_name = _("Workflows")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_workflow import checks
        from django_workflow.cluster import lifecycle

        # What people read in the admin. Not in the model's Meta: that would be a migration.
        names = self.get_model("Workflow")._meta
        names.verbose_name, names.verbose_name_plural = _("workflow"), _("workflows")
        checks.register_all()
        lifecycle.connect()
        autodiscover_modules("workflows")
