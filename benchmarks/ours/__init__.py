"""The driver of django_workflow itself: the only part of the benchmarks that imports Django."""
