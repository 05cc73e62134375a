"""The API as OpenAPI, by drf-spectacular (extra `openapi`).

Rules of this package: it describes and never acts; no view knows of it. `routes.py` imports `operations` where the
project has `drf_spectacular` among its apps, and nothing else ever does. Names of components begin with `Workflow`, and
enums are components of their own, so that neither meets what a project's own views are called.
"""
