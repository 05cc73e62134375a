"""The table of documents."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Create it."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Document",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "title",
                    models.CharField(
                        blank=True, help_text="The file's name, unless you say otherwise.", max_length=200
                    ),
                ),
                ("file", models.FileField(blank=True, upload_to="documents/")),
                ("path", models.TextField(blank=True, editable=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("text", "Text"),
                            ("markdown", "Markdown"),
                            ("html", "Html"),
                            ("pdf", "Pdf"),
                        ],
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("workflow_id", models.UUIDField(editable=False, null=True)),
                ("text", models.TextField(blank=True, editable=False)),
                ("keywords", models.JSONField(default=list, editable=False)),
                ("embedding", models.JSONField(default=list, editable=False)),
                ("revision", models.PositiveIntegerField(default=0, editable=False)),
                ("published_at", models.DateTimeField(editable=False, null=True)),
                ("similar", models.ManyToManyField(editable=False, to="documents.document")),
            ],
        ),
    ]
