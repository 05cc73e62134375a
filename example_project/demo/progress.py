"""How far the documents are, read from the database; nothing here writes."""

from collections import Counter
from dataclasses import dataclass

from example_project.documents.models import Document

IN_PROGRESS = "in progress"


@dataclass(frozen=True)
class Ending:
    """A document that has ended. `detail`: its keywords, or the reason of its failure."""

    title: str
    state: str
    detail: str


class Progress:
    """What was seen of all documents; `look()` looks again."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.counts: Counter[str] = Counter()
        # In the order in which they were seen to end; only grows.
        self.endings: list[Ending] = []
        self.seen: set[int] = set()

    @property
    def total(self) -> int:
        """The number of documents."""
        return self.counts.total()

    @property
    def ended(self) -> int:
        """The number of documents that are no longer in progress."""
        return self.total - self.counts[IN_PROGRESS]

    def look(self) -> list[Ending]:
        """Count anew; return the endings that are new since the last look."""
        states = {pk: in_words(state) for pk, state in Document.objects.all().states().items()}
        self.counts = Counter(states.values())
        new = [pk for pk, state in states.items() if state != IN_PROGRESS and pk not in self.seen]
        self.seen.update(new)
        documents = Document.objects.defer("text", "embedding").in_bulk(new)
        endings = [ending_of(documents[pk], states[pk]) for pk in new if pk in documents]
        self.endings += endings
        return endings


def in_words(state: str | None) -> str:
    """Name a workflow's state; that of a workflow which is gone, too."""
    return "cleaned up" if state is None else state.replace("_", " ")


def ending_of(document: Document, state: str) -> Ending:
    """Describe how a document ended."""
    return Ending(document.title, state, document.failure() or ", ".join(document.keywords))
