"""The workloads by which the speed of django_workflow is judged: `python -m benchmarks`. See README.md beside this file."""
