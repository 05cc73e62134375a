"""A worker process of one deploy: `python -m tests.engine.deployed_worker FILE`, FILE being the code that it has.

It begins at once, and answers each line that it reads by a drain: so a test says which worker is the older one, and
whose turn it is.
"""

import importlib.util
import sys

import django


def main() -> None:
    django.setup()
    from django_workflow.engine.drain import drain
    from django_workflow.journal import processes

    spec = importlib.util.spec_from_file_location("deployed_code", sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["deployed_code"] = module
    spec.loader.exec_module(module)
    processes.register()
    sys.stdout.write("began\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        sys.stdout.write(f"{drain(None)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
