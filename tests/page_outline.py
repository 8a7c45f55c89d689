"""A page as an assistive technology meets it: headings, tables, names of figures."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path


class Outline(HTMLParser):
    """What an assistive technology would meet."""

    VOID = frozenset({"meta", "link", "img", "br", "input", "path", "use", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.levels: list[int] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.seen: set[str] = set()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.captioned = self.labelled = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self.seen.add(tag)
        inside = [name for name, _ in self.open]
        if own.get("id"):
            self.ids.append(str(own["id"]))
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag == "a":
            self.links.append(str(own.get("href")))
        if tag == "table":
            self.captioned = False
            self.expect(
                any(one.get("tabindex") == "0" and one.get("role") == "region" for _, one in self.open),
                "a table that cannot be scrolled by key",
            )
        if tag == "caption":
            self.captioned = True
        if tag == "th":
            self.expect(own.get("scope") in {"row", "col"}, "a head without scope")
            self.expect(self.captioned, "a table without a caption")
        if tag == "svg":
            self.expect(own.get("role") == "img" and bool(own.get("aria-label")), "a figure without a name")
            self.expect("figure" in inside, "a picture outside of a figure")
        if tag == "img":
            self.expect(bool(own.get("alt")), "a picture without alt")
        if tag == "select":
            self.expect("label" in inside, "a choice without a label")
        if own.get("role") == "region":
            self.expect(bool(own.get("aria-label")), "a region without a name")
        if tag not in self.VOID:
            self.open.append((tag, own))

    def handle_endtag(self, tag: str) -> None:
        for at in range(len(self.open) - 1, -1, -1):
            if self.open[at][0] == tag:
                del self.open[at:]
                return

    def expect(self, good: bool, fault: str) -> None:
        if not good:
            self.faults.append(f"{fault}, at {self.getpos()}")


def expect_readable(page: Path) -> str:
    """By rules that a machine can check; the text."""
    text = page.read_text(encoding="utf-8")
    found = Outline(re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    assert found.faults == []
    assert found.levels[0] == 1
    assert found.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(found.levels, found.levels[1:], strict=False)), (
        "a level of headings is left out"
    )
    assert len(set(found.ids)) == len(found.ids), "an id stands twice"
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert {"main", "nav", "header", "h2", "figcaption"} <= found.seen
    assert '<html lang="en">' in text
    assert "width=device-width" in text
    for rule in ("prefers-color-scheme: dark", "@media print", ":focus-visible"):
        assert rule in text
    return text
