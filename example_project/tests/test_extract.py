"""Bytes become text, or are refused with a reason."""

import pytest

from example_project.demo.corpus import pdf
from example_project.documents.extract import Kind, UnreadableDocument, kind_of, text_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("notes.txt", Kind.TEXT),
        ("README.MD", Kind.MARKDOWN),
        ("index.htm", Kind.HTML),
        ("paper.pdf", Kind.PDF),
        ("LICENSE", Kind.TEXT),
        ("photo.jpeg", Kind.TEXT),
    ],
)
def test_the_name_tells_the_kind(name: str, kind: Kind) -> None:
    assert kind_of(name) == kind


def test_plain_text_is_kept_without_its_byte_order_mark() -> None:
    assert text_of("\ufeff Größe \n".encode(), Kind.TEXT) == "Größe"


def test_utf_16_is_read_where_it_is_declared() -> None:
    assert text_of("Größe".encode("utf-16"), Kind.TEXT) == "Größe"


def test_markdown_loses_its_marks() -> None:
    source = "# Title\n\n<!-- hidden\n -->\n* a [link](https://example.com/x) and **bold** `code`\n```python\nx = 1\n```\n"
    words = text_of(source.encode(), Kind.MARKDOWN).split()
    assert words == ["Title", "a", "link", "and", "bold", "code", "x", "=", "1"]


def test_html_shows_what_a_browser_shows() -> None:
    source = "<style>p {color: red}</style><h1>Fish &amp; chips</h1><p>to <b>g</b>o</p><script>let a = '<p>';</script>end"
    assert text_of(source.encode(), Kind.HTML).split() == ["Fish", "&", "chips", "to", "go", "end"]


def test_html_is_read_in_the_charset_it_declares() -> None:
    source = '<meta charset="iso-8859-1"><p>Größe</p>'
    assert text_of(source.encode("latin-1"), Kind.HTML) == "Größe"


def test_html_with_an_unknown_charset_is_taken_for_utf_8() -> None:
    assert text_of('<meta charset="klingon"><p>Größe</p>'.encode(), Kind.HTML) == "Größe"


def test_a_pdf_gives_its_text() -> None:
    assert text_of(pdf("Hello (again)", "Größe"), Kind.PDF).split() == ["Hello", "(again)", "Größe"]


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", Kind.TEXT, "empty file"),
        (b"", Kind.PDF, "empty file"),
        (b" \n\t", Kind.TEXT, "no text in the file"),
        (b"<br><script>x</script>", Kind.HTML, "no text in the file"),
        (pdf(" "), Kind.PDF, "no text in the file"),
        (b"abc\xff", Kind.TEXT, "byte 0xff at position 3 is not UTF-8"),
        (b"MZ\x00\x03", Kind.TEXT, "a NUL at position 2: the file is binary, not text"),
        (b"# \xff", Kind.MARKDOWN, "byte 0xff at position 2 is not UTF-8"),
    ],
)
def test_what_has_no_text_is_refused(data: bytes, kind: Kind, reason: str) -> None:
    with pytest.raises(UnreadableDocument) as refusal:
        text_of(data, kind)
    assert str(refusal.value) == reason


@pytest.mark.parametrize("data", [b"no PDF at all", pdf("cut off")[:120], b"%PDF-1.4\n%%EOF"])
def test_a_broken_pdf_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableDocument, match=r"^broken PDF: ."):
        text_of(data, Kind.PDF)


def test_a_locked_pdf_is_refused() -> None:
    from io import BytesIO

    from pypdf import PdfWriter

    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    locked = BytesIO()
    writer.write(locked)
    with pytest.raises(UnreadableDocument, match="locked by a password"):
        text_of(locked.getvalue(), Kind.PDF)
