"""A page of HTML in one file: sections of paragraphs, lists, tables and figures, which open without a network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from src.plots.style import as_png
from src.utils.exceptions import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "page.html.jinja"
INSTALL = 'python -m pip install "jinja2>=3.1,<4"'
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    words: str


@dataclass(frozen=True)
class Lines:
    """A list of things to heed."""

    kind: ClassVar[str] = "lines"
    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table: its caption and its rows of cells, of which the first is the header and the first of each a name."""

    kind: ClassVar[str] = "table"
    caption: str
    rows: Sequence[Sequence[str]]
    words: bool = False
    """Whether its cells are words, not numbers, which are set flush right."""


@dataclass(frozen=True)
class Picture:
    """A figure as PNG, and what it shows in words."""

    kind: ClassVar[str] = "picture"
    caption: str
    png: bytes

    @property
    def source(self) -> str:
        """Return the figure as a link that holds all of it."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Section:
    """A section: its title, its anchor in the page, and what is in it."""

    title: str
    anchor: str
    parts: Sequence[Text | Lines | Table | Picture]
    folded: bool = False
    """Whether it is closed until the reader opens it; on paper it is open."""


def saved(caption: str, path: Path) -> list[Picture]:
    """Return a figure that lies in a file as a part of a page; nothing if there is none."""
    content = path.read_bytes() if path.is_file() else b""
    return [Picture(caption, content)] if content.startswith(PNG) else []


def drawn(caption: str, figure: Figure) -> Picture:
    """Return a figure as a part of a page; equal figures give equal bytes."""
    return Picture(caption, as_png(figure))


def check_jinja() -> None:
    """Raise an error that says how to install what makes the page, if it is missing."""
    try:
        import jinja2  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise InputError(f"a report needs Jinja2 ({error}); install it with: {INSTALL}") from None


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Return the page; all words are escaped, whatever they hold.

    Raises
    ------
    InputError
        Jinja2 is missing.
    """
    check_jinja()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(title=title, subtitle=subtitle, sections=sections)
