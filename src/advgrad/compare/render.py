"""A comparison as text, Markdown, JSON or CSV."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from advgrad.compare.compare import Compared, Comparison, Key, summary
from advgrad.tables.markup import Layout, markdown

Format = Literal["text", "md", "json", "csv"]
HEAD = ("table", "row", "column", "A", "B", "difference", "95 % interval", "p", "adjusted", "test", "verdict")
FIELDS = (
    "table", "row", "column", "a", "b", "changes", "difference", "low", "high", "interval", "test", "images", "only_a",
    "only_b", "p", "adjusted", "significant", "why", "verdict_a", "verdict_b",
)  # fmt: skip
READ = (
    "Differences are B - A, over the images that count in both cells where outcomes are paired. McNemar b:c: b images "
    "add 1 in A only, c in B only. A * marks what is significant."
)


def render(found: Comparison, form: Format, *, every: bool = False) -> str:
    """The text of a file. every: also the cells that do not differ."""
    cells = found.cells if every else found.changed()
    if form == "json":
        return json.dumps(_tree(found, cells), indent=2, ensure_ascii=False) + "\n"
    if form == "csv":
        return _csv(found, cells)
    body = [_line(found, cell) for cell in cells]
    return _markdown(found, body) if form == "md" else _text(found, body)


def _numbers(cell: Compared, like: float) -> str:
    """like with the decimals of the cell's values, and a sign."""
    texts = (cell.a.value, cell.b.value)
    if any("e" in text for text in texts):
        return f"{like:+.2e}"
    return f"{like:+.{max(len(text.partition('.')[2]) for text in texts)}f}"


def _difference(cell: Compared) -> tuple[str, str]:
    """The difference and its interval."""
    test = cell.tested
    if test is None or test.low is None or test.high is None:
        apart = None if cell.a.number is None or cell.b.number is None else cell.b.number - cell.a.number
        return "" if apart is None else _numbers(cell, apart), ""
    return _numbers(cell, test.difference), f"{_numbers(cell, test.low)} to {_numbers(cell, test.high)}"


def _test(cell: Compared) -> str:
    test = cell.tested
    if test is None:
        return cell.why
    only = f" {test.only[0]}:{test.only[1]}" if test.only else ""
    return f"{test.test}{only}, {test.n} images" if test.paired else f"{test.test}, unpaired: {cell.why}"


def _small(p: float | None) -> str:
    return "" if p is None else f"{p:.2g}"


def _line(found: Comparison, cell: Compared) -> tuple[str, ...]:
    """As in HEAD."""
    verdict = f"{cell.a.verdict} -> {cell.b.verdict}" if "verdict" in cell.changes else ""
    star = "*" if found.significant(cell) else ""
    p = cell.tested.p if cell.tested else None
    return (
        *cell.key, _shown(cell, cell.a), _shown(cell, cell.b), *_difference(cell), _small(p),
        _small(cell.adjusted) + star, _test(cell), verdict,
    )  # fmt: skip


def _shown(cell: Compared, own: Any) -> str:
    """The value; with its n or interval where that is all that differs."""
    if "value" in cell.changes or cell.changes == ("verdict",):
        return own.value
    interval = f" [{own.low}, {own.high}]" if {"low", "high"} & set(cell.changes) else ""
    return own.value + interval + (f" (n={own.n})" if "n" in cell.changes else "")


def _only(found: Comparison) -> list[str]:
    """Tables and rows that the other side does not have at all are named as a whole."""
    both = {part for cell in found.cells for part in (cell.key[:1], cell.key[:2])}

    def told(side: str, keys: Sequence[Key]) -> list[str]:
        shortest = (next((key[:n] for n in (1, 2) if key[:n] not in both), key) for key in keys)
        names = (" | ".join(part) + (f" ({n} cells)" if len(part) < 3 else "") for part, n in Counter(shortest).items())
        return [f"Only in {side}: {'; '.join(names)}."] if keys else []

    return told("A", found.only_a) + told("B", found.only_b)


def _text(found: Comparison, body: Sequence[tuple[str, ...]]) -> str:
    lines = [f"A: {found.about[0]}", f"B: {found.about[1]}"]
    if body:
        widths = [max(map(len, column)) for column in zip(HEAD, *body, strict=True)]
        padded = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in (HEAD, *body)
        ]
        lines += ["", *padded, "", READ]
    return "\n".join([*lines, *_only(found), summary(found)]) + "\n"


def _markdown(found: Comparison, body: Sequence[tuple[str, ...]]) -> str:
    cells = tuple(tuple((text, None) for text in line) for line in body)
    layout = Layout(
        title=" → ".join(found.about), caption=f"{summary(found)}.", note=READ if body else "", head=HEAD, keys=3,
        body=cells, notes=(), last=tuple(_only(found)),
    )  # fmt: skip
    return markdown(layout)


def _digits(number: float | None) -> float | None:
    """Six digits: more are not worth a difference between machines."""
    return None if number is None else float(f"{number:.6g}")


def _facts(found: Comparison, cell: Compared) -> dict[str, Any]:
    """As in FIELDS."""
    test = cell.tested
    only = test.only if test and test.only else (None, None)
    numbers = (test.difference, test.low, test.high) if test else (None, None, None)
    if test is None and cell.a.number is not None and cell.b.number is not None:
        numbers = (cell.b.number - cell.a.number, None, None)
    values = (
        *cell.key, cell.a.value, cell.b.value, list(cell.changes), *map(_digits, numbers),
        test.interval if test else None, test.test if test else None, test.n if test else None, *only,
        _digits(test.p if test else None), _digits(cell.adjusted), found.significant(cell) or cell.exact, cell.why,
        cell.a.verdict, cell.b.verdict,
    )  # fmt: skip
    return dict(zip(FIELDS, values, strict=True))


def _tree(found: Comparison, cells: Sequence[Compared]) -> dict[str, Any]:
    return {
        "a": found.about[0],
        "b": found.about[1],
        "alpha": found.alpha,
        "family": found.family,
        "summary": summary(found),
        "cells": [_facts(found, cell) for cell in cells],
        "only_a": [list(key) for key in found.only_a],
        "only_b": [list(key) for key in found.only_b],
    }


def _csv(found: Comparison, cells: Sequence[Compared]) -> str:
    """A line for each cell; one that only one side has is named, with nothing else."""
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, FIELDS, lineterminator="\n", restval="")
    writer.writeheader()
    for cell in cells:
        writer.writerow({key: " ".join(value) if key == "changes" else value
                         for key, value in _facts(found, cell).items()})  # fmt: skip
    for side, keys in (("A", found.only_a), ("B", found.only_b)):
        for key in keys:
            writer.writerow({**dict(zip(FIELDS, key, strict=False)), "why": f"only in {side}"})
    return text.getvalue()
