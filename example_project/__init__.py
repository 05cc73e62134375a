"""A Django project that uses django_workflow for one story: documents come in, are analyzed, and are published."""
