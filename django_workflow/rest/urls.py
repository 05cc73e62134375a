"""`path("api/", include("django_workflow.rest.urls"))`."""

from django_workflow.rest.routes import routes

urlpatterns, app_name = routes()
