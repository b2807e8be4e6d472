"""A page of findings as HTML within the report: its headings lower, its links to the report's own places."""

import posixpath
import re
from collections.abc import Collection, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

LOWER = 3  # a page's first heading stands below those of its paper and of "Findings"
DEEPEST = 6


def anchor(link: str, known: Collection[str]) -> str:
    """Where a link of reports/SCALE/findings/PAPER.md leads from reports/SCALE/index.html. known: the report's ids."""
    if re.match(r"[a-z][a-z0-9+.-]*:|#", link):
        return link
    path = posixpath.normpath(posixpath.join("findings", link))
    kind, name = path.partition("/")[0], posixpath.basename(path).partition(".")[0]
    place = {"tables": name, "figures": f"figure-{name}"}.get(kind, f"{kind}-{name}")
    return f"#{place}" if place in known else path


def _settle(token: Token, known: Collection[str]) -> None:
    """Headings lower, links to where they lead."""
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(int(token.tag[1:]) + LOWER, DEEPEST)}"
    for child in token.children or ():
        for key in ("href", "src"):
            if (link := child.attrGet(key)) is not None:
                child.attrSet(key, anchor(str(link), known))


def _image(_: Any, tokens: Sequence[Token], place: int, *__: object) -> str:
    token = tokens[place]
    return f'<a href="{escape(token.attrGet("src"))}">{escape(token.content or "figure")}</a>'


def html(text: str, known: Collection[str]) -> Markup:
    """Markdown (CommonMark and tables; HTML in it is shown, not taken) as HTML. known: as in `anchor`.

    Pictures become links: the page loads nothing.
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.add_render_rule("image", _image)
    reader.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = reader.parse(text)
    for token in tokens:
        _settle(token, known)
    return Markup(reader.renderer.render(tokens, reader.options, {}))  # noqa: S704 (markdown-it has escaped it)
