"""A database on which threads see each other's rows. Only the tables that these tests write are emptied."""

import pytest

committed = pytest.mark.django_db(transaction=True, available_apps=["django_workflow", "tests.shop"])
