"""Markdown: text that is to stand as it is, and tables of it."""

import re

import pandas as pd


def plain(text: str) -> str:
    """text with every character that Markdown would act on escaped."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def table(texts: pd.DataFrame, left: int, *, escaped: bool = False) -> str:
    """A table without padding. left: columns of names, which come first; escaped: whether its texts are."""
    if not escaped:
        texts = texts.astype(str).map(plain).set_axis([plain(str(name)) for name in texts], axis=1)
    align = ["left"] * left + ["right"] * (len(texts.columns) - left)
    lines = str(texts.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=align))
    return re.sub(r" {2,}", " ", re.sub(r"-{3,}", "---", lines))
