"""The app's name and label; it has no tables and no workflows, only pages."""

from django.apps import AppConfig


class PagesConfig(AppConfig):
    """The pages app."""

    name = "example_project.pages"
    label = "pages"
    verbose_name = "Pages"
