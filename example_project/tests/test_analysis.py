"""Keywords and embeddings of short texts, whose right answers anyone can see."""

import math

import pytest

from example_project.documents.analysis import DIMENSIONS, embedding, keywords, similarity


def test_keywords_are_the_most_frequent_words() -> None:
    assert keywords("The cat saw a dog. The dog saw the cats and another dog.") == [
        "dog",
        "saw",
        "cat",
        "cats",
    ]


def test_equally_frequent_keywords_come_by_the_alphabet_and_are_limited() -> None:
    assert keywords("pear apple Größe melon", limit=3) == ["apple", "größe", "melon"]


def test_a_text_without_words_has_no_keywords_and_no_direction() -> None:
    assert keywords("1 + 1 = 2, and so on") == []
    assert embedding("?!") == [0.0] * DIMENSIONS


def test_an_embedding_has_length_one_and_stays_the_same() -> None:
    vector = embedding("Roses and tulips grow in the garden.")
    assert len(vector) == DIMENSIONS
    assert math.hypot(*vector) == pytest.approx(1, abs=0.001)
    assert vector == embedding("Roses and tulips grow in the garden.")


def test_alike_texts_are_nearer_than_others() -> None:
    garden, roses = embedding("roses in the garden"), embedding("a garden of roses and tulips")
    engine = embedding("the diesel engine burns fuel")
    assert similarity(garden, garden) == pytest.approx(1, abs=0.001)
    assert similarity(garden, roses) > 0.5 > similarity(garden, engine)
