"""Puts a million workflows into the tables, in a few statements: copies of two that the engine has made."""

from datetime import timedelta
from typing import Any

from django.db import connection, models

from django_workflow.models import Step, Workflow

SLEEP = timedelta(days=365)
# The ids of copies are small numbers: older than any that the engine makes (UUIDv7), and one number for each.
_NUMBERED = {
    "postgresql": "lpad(to_hex({n}), 32, '0')::uuid",
    "sqlite": "printf('%%032x', {n})",
    "mysql": "lpad(hex({n}), 32, '0')",
}


def fill(finished: Workflow, sleeping: Workflow, finished_copies: int, sleeping_copies: int) -> None:
    """Copy one workflow and its steps so many times, and another so many."""
    Workflow.objects.filter(id=sleeping.id).update(due_at=models.F("due_at") + SLEEP)
    Step.objects.filter(workflow=sleeping).exclude(due_at=None).update(due_at=models.F("due_at") + SLEEP)
    with connection.cursor() as cursor:
        _copy(cursor, finished, 0, finished_copies)
        _copy(cursor, sleeping, finished_copies, sleeping_copies)
        for model in (Workflow, Step):
            # As the server's own maintenance does after such a load, at a time of its choice.
            table = connection.ops.quote_name(model._meta.db_table)
            cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{table}")


def _copy(cursor: Any, template: Workflow, first: int, copies: int) -> None:
    numbers, number = _numbers(first, copies)
    new_id = _NUMBERED[connection.vendor].format(n=number)
    for model, id_column, key in ((Workflow, "id", "id"), (Step, "workflow_id", "workflow_id")):
        columns = [
            field.column
            for field in model._meta.local_concrete_fields
            if field.column
            and not field.generated
            and field.column != id_column
            and not isinstance(field, models.AutoField)
        ]
        table = connection.ops.quote_name(model._meta.db_table)
        quoted = [connection.ops.quote_name(column) for column in columns]
        cursor.execute(
            f"INSERT INTO {table} ({id_column}, {', '.join(quoted)}) "  # noqa: S608  names of our own tables
            f"SELECT {new_id}, {', '.join(f't.{column}' for column in quoted)} "
            f"FROM {table} t CROSS JOIN {numbers} WHERE t.{key} = %s",
            [Workflow._meta.pk.get_db_prep_value(template.id, connection)],
        )


def _numbers(first: int, number: int) -> tuple[str, str]:
    """A source of so many rows, and the expression of the number in each; the same SQL for every database."""
    digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
    places = range(max(1, len(str(number - 1))))
    joined = " CROSS JOIN ".join(f"({digits}) p{place}" for place in places)
    value = " + ".join(f"{10**place} * p{place}.d" for place in places)
    source = f"(SELECT {value} AS n FROM {joined}) numbers"  # noqa: S608  digits
    # A WHERE inside cuts off what is beyond the number.
    source = source.replace(") numbers", f" WHERE {value} < {number}) numbers")
    return source, f"(numbers.n + {first + 1})"
