"""Settings of the worker that dies: those of the tests' clusters, without their output."""

from tests.cluster.settings import *  # noqa: F403

LOGGING = {"version": 1, "disable_existing_loggers": True}
