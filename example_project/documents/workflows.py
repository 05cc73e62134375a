"""What happens to a document: it is read, analyzed and saved; it rests; then it is compared and published."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F
from django.utils import timezone

from django_workflow import StepContext, action, mutation, query, workflow
from example_project.documents import analysis, extract
from example_project.documents.models import Document


@dataclass(frozen=True)
class Analysis:
    """What is known of a text."""

    keywords: list[str]
    embedding: list[float]


@action
def read_text(document_id: int) -> int:
    """Read the file and keep its text, which may be large, in the document's row; return its length."""
    document = Document.objects.get(pk=document_id)
    text = extract.text_of(document.read(), document.kind)
    Document.objects.filter(pk=document_id).update(text=text)
    return len(text)


@action
def analyze(document_id: int) -> Analysis:
    """Find the keywords and compute the embedding."""
    text = Document.objects.get(pk=document_id).text
    return Analysis(analysis.keywords(text), analysis.embedding(text))


@mutation
def save_analysis(document_id: int, found: Analysis) -> None:
    """Save it. Saving twice would count twice: a mutation happens exactly once."""
    Document.objects.filter(pk=document_id).update(
        keywords=found.keywords, embedding=found.embedding, revision=F("revision") + 1
    )


@query
def find_similar(document_id: int) -> list[int]:
    """Return the ids of up to three documents that are most alike, the most similar first."""
    embeddings = dict(Document.objects.filter(revision__gt=0).values_list("pk", "embedding"))
    own = embeddings.pop(document_id)
    scores = {pk: analysis.similarity(own, other) for pk, other in embeddings.items()}
    return sorted((pk for pk in scores if scores[pk] > 0.25), key=lambda pk: (-scores[pk], pk))[:3]


@mutation
def publish(document_id: int, similar: list[int]) -> None:
    """Publish the document, with links to similar ones."""
    document = Document.objects.get(pk=document_id)
    document.similar.set(similar)
    document.published_at = timezone.now()
    document.save(update_fields=["published_at"])


@workflow.define(api=True)  # may be started over HTTP, too
async def process_document(step: StepContext, document_id: int, cooling_off: timedelta) -> list[int]:
    """Take a document from its file to its publication; return the ids of similar documents."""
    await step.run_action(read_text, document_id)
    step.set_status({"done": 1, "of": 4})
    found = await step.run_action(analyze, document_id)
    step.set_status({"done": 2, "of": 4})
    await step.run_mutation(save_analysis, document_id, found)
    step.set_status({"done": 3, "of": 4})
    await step.sleep(cooling_off)
    similar = await step.run_query(find_similar, document_id)
    await step.run_mutation(publish, document_id, similar)
    step.set_status({"done": 4, "of": 4})
    return similar
