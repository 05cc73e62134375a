"""The app's name and label; its workflows are found by django_workflow when Django starts."""

from django.apps import AppConfig


class DocumentsConfig(AppConfig):
    """The documents app."""

    name = "example_project.documents"
    label = "documents"
    verbose_name = "Documents"
