"""The tables of releases and their entries."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Create them."""

    initial = True

    dependencies = [
        ("documents", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Release",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("title", models.CharField(max_length=100, unique=True)),
                ("day", models.DateField(null=True, unique=True)),
                ("released_at", models.DateTimeField(null=True)),
                ("outcome", models.TextField(blank=True)),
                ("workflow_id", models.UUIDField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Entry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("identifier", models.CharField(max_length=100)),
                (
                    "document",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="documents.document"),
                ),
                (
                    "release",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="publishing.release"),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=["release", "document"], name="a_document_is_in_a_release_once"
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="release",
            name="documents",
            field=models.ManyToManyField(through="publishing.Entry", to="documents.document"),
        ),
    ]
