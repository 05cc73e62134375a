"""Addresses of the pages for users."""

from django.urls import path

from example_project.pages import views

app_name = "pages"
urlpatterns = [
    path("", views.home, name="home"),
    path("releases/<int:pk>/", views.release, name="release"),
]
