"""Rows that step functions write, so that a test can count what really happened."""

from django.db import models


class Entry(models.Model):
    """One row for each time a step wrote: the ledger that tests count."""

    label = models.CharField(max_length=200)
    value = models.IntegerField(default=0)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.label}={self.value}"


class Ledger(models.Model):
    """A row that can exist once: a second write of the same key is an error of the database."""

    key = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key"], name="shop_ledger_key")]

    def __str__(self) -> str:
        return self.key


class Line(models.Model):
    """Refers to an entry. PostgreSQL and SQLite check that at commit only, so a wrong one fails there."""

    entry = models.ForeignKey(Entry, on_delete=models.CASCADE)

    def __str__(self) -> str:
        return f"line of entry {self.entry_id}"
