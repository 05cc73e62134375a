"""The app's name and label; its workflows are found by django_workflow when Django starts."""

from django.apps import AppConfig


class PublishingConfig(AppConfig):
    """The publishing app."""

    name = "example_project.publishing"
    label = "publishing"
    verbose_name = "Publishing"
