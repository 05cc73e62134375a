"""Tests against a real django-q2 cluster, in processes of its own."""
