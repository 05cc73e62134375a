"""The glue to django-q2, the only part that imports it: trusted for processes, never for truth (P12)."""
