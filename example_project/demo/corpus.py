"""The documents that the demo processes: what lies on this machine already, and a few that are made to fail."""

import itertools
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from example_project.demo.processes import PROJECT

LIMIT = 60
TEXTS = ("METADATA", "README", "LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS")


def collect(folder: Path) -> dict[Path, str]:
    """Return up to `LIMIT` files, each with a title: the samples, the repository's documents, packages' texts.

    Args:
        folder: where the samples are written, unless they are there.
    """
    own = {file: f"samples/{file.name}" for file in write_samples(folder)}
    found = {**own, **repository_texts(), **dict(package_texts())}
    return dict(itertools.islice(found.items(), LIMIT))


def repository_texts() -> dict[Path, str]:
    """Return the project's own documents."""
    files = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("LICENSE"), *PROJECT.glob("docs/**/*.md")])
    return {file: file.relative_to(PROJECT).as_posix() for file in files}


def package_texts() -> Iterator[tuple[Path, str]]:
    """Yield up to two texts of each installed package, the second ones last."""
    packages = {str(package.metadata["Name"]).lower(): package for package in distributions()}
    texts = {name: texts_of(packages[name]) for name in sorted(packages)}
    for turn in range(2):
        for position, (name, own) in enumerate(texts.items()):
            if turn < len(own):
                # Beginning with another one each time mixes descriptions and licences.
                text = own[(position + turn) % len(own)]
                yield text, f"{name} {packages[name].version} {text.name}"


def texts_of(package: Distribution) -> list[Path]:
    """Return the texts that a package has brought along."""
    paths = [
        Path(str(package.locate_file(file))).resolve()
        for file in package.files or ()
        if file.name.startswith(TEXTS)
    ]
    return sorted(path for path in paths if path.suffix in {"", ".txt", ".md", ".rst"} and path.is_file())


def write_samples(folder: Path) -> list[Path]:
    """Write a PDF, and three files that nobody can read; return their paths."""
    samples = {
        "durable.pdf": pdf("A workflow sleeps for a month", "and a durable journal remembers every step."),
        "empty.txt": b"",
        "broken.pdf": pdf("This one is cut off in the middle.")[:120],
        "undecodable.txt": "Grüße aus einer älteren Zeit".encode("latin-1"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in samples.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(data)
    return [folder / name for name in samples]


def pdf(*lines: str) -> bytes:
    """Return a PDF of one page with lines of Latin-1 text (the least that ISO 32000-1, 7.5, asks for)."""
    shown = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in lines]
    page = "BT /F1 12 Tf 14 TL 72 720 Td " + " ".join(f"({line}) Tj T*" for line in shown) + " ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        " /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica"
        " /Encoding /WinAnsiEncoding >> >> >> >>",
        f"<< /Length {len(page)} >>\nstream\n{page}\nendstream",
    ]
    text, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(text))
        text += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    text += f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    text += f"startxref\n{text.index('xref')}\n%%EOF\n"
    return text.encode("latin-1")
