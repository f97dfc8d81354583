"""What pages in a directory link to and load, and the text that they show."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {("link", "href"), ("object", "data"), ("use", "href"), ("image", "href")}  # beside every src and srcset
APART = {"td", "th", "p", "li", "h1", "h2", "h3", "div", "pre", "nav", "summary"}


class WebPage(HTMLParser):
    """A page that was read: `links`, the addresses in `loaded`, and its `text` without styles and scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self._parts: list[str] = []
        self._hidden = 0
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    @property
    def text(self) -> str:
        return " ".join("".join(self._parts).replace("\u00a0", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("style", "script")
        self._parts += [" "] if tag in APART else []
        for name, value in attrs:
            if value and (name in ("src", "srcset", "poster") or (tag, name) in LOADING):
                self.loaded.append(value)
            elif value and name == "href":
                self.links.append(value)
            if value and name == "style":
                self.loaded += styled(value)

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if self._hidden:
            self.loaded += styled(data)
        else:
            self._parts.append(data)


def styled(css: str) -> list[str]:
    """The addresses that a stylesheet loads."""
    return re.findall(r"url\(\s*[\"']?([^\"')]+)", css) + re.findall(r"@import\s+[\"']([^\"']+)", css)


def outside(address: str) -> bool:
    """Whether an address leaves the directory for a network."""
    return urlsplit(address).scheme not in ("", "data") or address.startswith("//")


def target(page: Path, address: str) -> Path:
    """The file that an address on a page names."""
    return (page.parent / unquote(urlsplit(address).path)).resolve() if urlsplit(address).path else page
