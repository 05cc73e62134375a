"""The app of the workflows; counts the statements of a cluster's processes where it is asked to."""

from django.apps import AppConfig


class BenchmarksConfig(AppConfig):
    """See the module."""

    name = "benchmarks.app"
    label = "benchmarks"

    def ready(self) -> None:
        """Begin to count before the first connection."""
        from benchmarks.ours import watching

        watching.count_here()
