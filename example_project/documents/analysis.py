"""A text → its keywords and its embedding, and how alike two embeddings are. Pure: no database.

scikit-learn is imported where it is used: the import takes a second, which the web server and `manage.py` need not pay.
"""

import operator
import re
from collections import Counter
from collections.abc import Sequence

DIMENSIONS = 512
WORD = re.compile(r"[^\W\d_]{3,}")
WEB = frozenset({"http", "https", "www", "com", "org"})


def keywords(text: str, limit: int = 8) -> list[str]:
    """Return the words that occur most often, the most frequent first, equals by the alphabet.

    Args:
        text: any text; English function words are left out.
        limit: the number of keywords at most.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    ignored = ENGLISH_STOP_WORDS | WEB
    counts = Counter(word for word in WORD.findall(text.lower()) if word not in ignored)
    return sorted(counts, key=lambda word: (-counts[word], word))[:limit]


def embedding(text: str) -> list[float]:
    """Return a vector of `DIMENSIONS` numbers and length 1, or of zeros for a text without words."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(n_features=DIMENSIONS, stop_words="english")
    vector = vectorizer.transform([text]).toarray()[0]
    # Four digits are plenty for a comparison and keep the row at a few kilobytes.
    return [round(float(number), 4) for number in vector]


def similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of two embeddings: 1 for the same words, 0 for no word in common."""
    return float(sum(map(operator.mul, one, other)))
