"""HTML: the text that a reader of the page sees."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from ...sla.errors import CorpusError
from .decode import clean, read_bytes, refuse_binary
from .loaded import Loaded

_UNSEEN = ["script", "style", "noscript", "template", "svg", "head", "nav"]
_PARAGRAPHS = [
    *("address", "article", "aside", "blockquote", "div", "dl", "fieldset", "figcaption", "figure", "footer", "form"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "ol", "p", "pre", "section", "table", "ul"),
]
_LINES = ["br", "dd", "dt", "li", "tr"]
_CELLS = ["td", "th"]
_MOST_NESTED = 2_000


def load_html(path: Path) -> Iterator[Loaded]:
    """One document: visible text, a blank line between blocks; its title is that of the page or its first heading."""
    from bs4 import BeautifulSoup

    raw = read_bytes(path)
    refuse_binary(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its advice on parsers is for the page's author
        try:
            soup = BeautifulSoup(raw, "html.parser")
            _refuse_deep(soup)
            title = _title(soup)
            text = _visible_text(soup)
        except (RecursionError, AssertionError) as error:
            raise CorpusError(
                f"cannot be parsed ({type(error).__name__})", remedy="save the page as plain text"
            ) from None
    yield Loaded(text=text, title=title or path.stem)


def _refuse_deep(soup: object) -> None:
    """Raise `RecursionError` past `_MOST_NESTED`: the time to take such a page apart grows with the depth squared."""
    from bs4 import BeautifulSoup
    from bs4.element import Tag

    assert isinstance(soup, BeautifulSoup)
    depth = {id(soup): 0}
    for tag in soup.find_all(True):
        assert isinstance(tag, Tag)
        depth[id(tag)] = depth[id(tag.parent)] + 1
        if depth[id(tag)] > _MOST_NESTED:
            raise RecursionError(f"more than {_MOST_NESTED} elements inside one another")


def _title(soup: object) -> str:
    from bs4 import BeautifulSoup

    assert isinstance(soup, BeautifulSoup)
    for name in ("title", "h1"):
        found = soup.find(name)
        if found is not None and (words := found.get_text().split()):
            return " ".join(words)
    return ""


def _visible_text(soup: object) -> str:
    from bs4 import BeautifulSoup
    from bs4.element import NavigableString

    assert isinstance(soup, BeautifulSoup)
    for tag in soup.find_all(_UNSEEN):
        tag.decompose()
    for string in list(soup.find_all(string=True)):
        if isinstance(string, NavigableString) and string.find_parent("pre") is None:
            string.replace_with(type(string)(re.sub(r"\s+", " ", string)))
    for names, mark in ((_PARAGRAPHS, "\n\n"), (_LINES, "\n"), (_CELLS, " ")):
        for tag in soup.find_all(names):
            tag.insert_before(mark)
            tag.insert_after(mark)
    text = re.sub(r"[ \t\xa0]*\n[ \t\xa0]*", "\n", clean(soup.get_text()))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"(?<=\S) {2,}(?=\S)", " ", text)).strip()
