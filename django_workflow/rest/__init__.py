"""The REST API: `path("api/", include("django_workflow.rest.urls"))`.

Rules of this package: it acts only through the manager, and nothing else imports Django REST framework. A request is
answered by a view of one verb; what is shown of a workflow is made in `shapes.py`, what may come in is checked in
`bodies.py` and `filters.py`, and every error is a problem of `problems.py`.
"""
