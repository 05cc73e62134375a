"""`python -m example_project.demo`: reads the command line and sets Django up; `run.py` does the rest."""

import argparse
import logging
import os
import sys

import django


def main() -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m example_project.demo",
        description="Process the documents of this machine with workflows; stop with Ctrl-C, start again to go on.",
    )
    parser.add_argument("--once", action="store_true", help="stop by itself when every document has ended")
    parser.add_argument(
        "--port", type=int, default=8000, help="the admin's port, or the next free one (8000)"
    )
    options = parser.parse_args()

    os.environ["DJANGO_SETTINGS_MODULE"] = "example_project.demo_settings"
    django.setup()
    # It tells of each message that this process queues, in the middle of the picture. The cluster's log has it all.
    logging.getLogger("django-q").setLevel(logging.WARNING)
    from example_project.demo.processes import KeepsDying
    from example_project.demo.run import AlreadyRunning, Demo, NoFreePort

    try:
        return Demo(once=options.once, port=options.port).run()
    except (AlreadyRunning, KeepsDying, NoFreePort) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
