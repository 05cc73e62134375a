"""Documents in the admin: an upload starts a workflow, a deletion cancels it; the rest is to be read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from django_workflow import workflow
from django_workflow.exceptions import WorkflowNotFound
from example_project.documents import ingest
from example_project.documents.models import Document


@admin.register(Document)
class DocumentAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """The list says how far each document is; the page of one says what was found out, or why it failed."""

    list_display = ("title", "kind", "state", "keyword_list", "published_at", "created_at")
    list_filter = ("kind", "published_at")
    search_fields = ("title",)
    ordering = ("-created_at",)

    FOUND = (
        "kind",
        "path",
        "state",
        "reason",
        "workflow_id",
        "keyword_list",
        "similar",
        "revision",
        "published_at",
    )

    def get_fields(self, request: HttpRequest, obj: Document | None = None) -> tuple[str, ...]:
        """An upload asks for the file; a document shows what was found."""
        return ("title", "file") if obj is None else ("title", "file", *self.FOUND)

    def get_readonly_fields(self, request: HttpRequest, obj: Document | None = None) -> tuple[str, ...]:
        """The file belongs to the workflow once that has begun."""
        return () if obj is None else ("file", *self.FOUND)

    def get_form(
        self, request: HttpRequest, obj: Document | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """An upload without a file makes no sense, though a document without an upload does."""
        form = super().get_form(request, obj, change, **kwargs)
        if obj is None:
            form.base_fields["file"].required = True
        return form

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        """Fetch the state along with the row, and leave the bulky columns out."""
        return Document.objects.with_state().defer("text", "embedding")

    def save_model(
        self, request: HttpRequest, obj: Document, form: ModelForm[Document], change: bool
    ) -> None:
        """Start the workflow of a new document, in the transaction that the admin has opened."""
        if change:
            super().save_model(request, obj, form, change)
        else:
            ingest.add(obj)

    def delete_model(self, request: HttpRequest, obj: Document) -> None:
        """Cancel the workflow along with the document."""
        self.cancel_workflow(obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        """Cancel the workflows along with the documents."""
        for document in queryset:
            self.cancel_workflow(document)
        super().delete_queryset(request, queryset)

    def cancel_workflow(self, document: Document) -> None:
        """Cancel the document's workflow, if there is one; a finished one stays as it is."""
        if document.workflow_id is None:
            return
        try:
            workflow.cancel(document.workflow_id, reason="the document was deleted")
        except WorkflowNotFound:
            return

    @admin.display(description="state", ordering="state", empty_value="no workflow")
    def state(self, document: Any) -> str | None:
        """The state of the workflow, in words."""
        return document.state and str(document.state).replace("_", " ")

    @admin.display(description="keywords")
    def keyword_list(self, document: Document) -> str:
        """The keywords, separated by commas."""
        return ", ".join(document.keywords)

    @admin.display(description="reason of the failure")
    def reason(self, document: Document) -> str:
        """Why the workflow failed, if it did."""
        return document.failure() or ""
