"""Bytes of a file → its text. Pure: no database, no Django settings, no file system.

What has no text is refused with `UnreadableDocument`, whose message is the reason that users see.
"""

import codecs
import io
import re
from html.parser import HTMLParser
from pathlib import PurePath

from django.db.models import TextChoices


class UnreadableDocument(ValueError):
    """The file has no text that can be read; the message says why."""


class Kind(TextChoices):
    """The formats that are understood."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    PDF = "pdf"


SUFFIXES = {
    ".txt": Kind.TEXT,
    ".rst": Kind.TEXT,
    ".md": Kind.MARKDOWN,
    ".markdown": Kind.MARKDOWN,
    ".html": Kind.HTML,
    ".htm": Kind.HTML,
    ".pdf": Kind.PDF,
}


def kind_of(name: str) -> Kind:
    """Return the format that a file's name promises; without a known suffix it is plain text."""
    return SUFFIXES.get(PurePath(name).suffix.lower(), Kind.TEXT)


def text_of(data: bytes, kind: str) -> str:
    """Return the text of a file.

    Args:
        data: all bytes of the file.
        kind: a value of `Kind`.

    Returns:
        The text without markup, never blank.

    Raises:
        UnreadableDocument: the file is empty, broken, locked, not text, or has nothing but blanks in it.
    """
    if not data:
        raise UnreadableDocument("empty file")
    text = READERS[Kind(kind)](data).strip()
    if not text:
        raise UnreadableDocument("no text in the file")
    return text


def read_plain(data: bytes) -> str:
    """Decode UTF-8, or UTF-16 that says so in its first bytes."""
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return decode(data, "utf-16" if utf16 else "utf-8-sig")


def read_markdown(data: bytes) -> str:
    """Drop Markdown's marks, comments and addresses; keep the words, code included."""
    text = re.sub(r"<!--.*?-->", "", read_plain(data), flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^\s*(?:#{1,6}|>|[-*+]|```\w*)(?:\s|$)", "", text, flags=re.MULTILINE)
    return re.sub(r"[*`|]+", " ", text)


def read_html(data: bytes) -> str:
    """Keep what a browser would show."""
    parser = VisibleText()
    charset = declared_charset(data)
    parser.feed(decode(data, charset) if charset else read_plain(data))
    parser.close()
    return "".join(parser.parts)


def read_pdf(data: bytes) -> str:
    """Return the text of all pages."""
    from pypdf import PdfReader

    # What pypdf raises over a broken file depends on where it breaks (also KeyError, TypeError, RecursionError …).
    try:
        reader = PdfReader(io.BytesIO(data))
        locked = reader.is_encrypted
        text = "" if locked else "\n".join(page.extract_text() for page in reader.pages)
    except Exception as error:
        raise UnreadableDocument(f"broken PDF: {error}") from error
    if locked:
        raise UnreadableDocument("the PDF is locked by a password")
    # Fonts without a proper table yield characters that no database stores.
    return text.replace("\0", "").encode(errors="replace").decode()


READERS = {
    Kind.TEXT: read_plain,
    Kind.MARKDOWN: read_markdown,
    Kind.HTML: read_html,
    Kind.PDF: read_pdf,
}


def decode(data: bytes, charset: str) -> str:
    """Decode strictly, and refuse binary files that happen to decode."""
    try:
        text = data.decode(charset)
    except UnicodeDecodeError as error:
        byte, name = error.object[error.start], error.encoding.upper()
        raise UnreadableDocument(f"byte 0x{byte:02x} at position {error.start} is not {name}") from error
    if "\0" in text:
        raise UnreadableDocument(f"a NUL at position {text.index(chr(0))}: the file is binary, not text")
    return text


def declared_charset(data: bytes) -> str | None:
    """Return the charset that an HTML file declares within its first 1024 bytes, where Python knows it."""
    found = re.search(rb"<meta[^>]+charset\s*=\s*[\"']?([\w-]+)", data[:1024], flags=re.IGNORECASE)
    try:
        return codecs.lookup(found.group(1).decode("ascii")).name if found else None
    except LookupError:
        return None


class VisibleText(HTMLParser):
    """Collects the text between the tags, scripts and styles left out."""

    HIDDEN = frozenset({"script", "style", "template"})
    INLINE = frozenset(
        {"a", "abbr", "b", "code", "em", "i", "kbd", "mark", "small", "span", "strong", "sub", "sup"}
    )

    def __init__(self) -> None:
        """Start with nothing collected."""
        super().__init__()
        self.parts: list[str] = []
        self.hidden_by: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a line at a block; stop collecting at a hidden element."""
        if self.hidden_by is None and tag in self.HIDDEN:
            self.hidden_by = tag
        if tag not in self.INLINE:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """End a line at a block; collect again after a hidden element."""
        if tag == self.hidden_by:
            self.hidden_by = None
        if tag not in self.INLINE:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        """Collect visible text."""
        if self.hidden_by is None:
            self.parts.append(data)
