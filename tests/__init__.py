"""The tests of django_workflow, by kind: one folder for each part of the package."""
