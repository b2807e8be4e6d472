"""Two sides, cell by cell: which cells differ, which by more than chance, and how that is written down."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from statsmodels.stats.multitest import multipletests

from advgrad.compare.sides import read_side
from advgrad.errors import InputError
from advgrad.markdown import plain
from advgrad.tables.significance import MEASURED, Difference, assess

FailOn = Literal["changed", "significant", "verdict", "never"]
Format = Literal["text", "md", "csv"]
KEY = ["table", "row", "column"]
SHOWN = (*MEASURED, "verdict")  # what makes two cells different
NUMBERS, COUNTS = ["difference", "low", "high", "p", "adjusted"], ["images", "only_a", "only_b"]
TESTED = [field.name for field in fields(Difference)]
FIELDS = [*KEY, "a", "b", "changes", *TESTED[:-1], "adjusted", "significant", "verdict_a", "verdict_b"]  # of csv
READ = (
    "Differences are B - A, over the images that count in both cells where outcomes are paired. McNemar b:c: b images "
    "add 1 in A only, c in B only. A * marks what is significant."
)


@dataclass(frozen=True, kw_only=True)
class SideComparison:
    about: tuple[str, ...]  # the sides
    alpha: float
    # Cells of both sides, as in A: KEY; value_a, value_b and so on; changes: those of SHOWN; the fields of Difference;
    # adjusted: p after Holm's correction; significant; exact: a difference without sampling error
    cells: pd.DataFrame
    only: dict[str, list[tuple[str, ...]]]  # A or B -> KEY of the cells that it alone has

    @property
    def changed(self) -> pd.DataFrame:
        return self.cells.loc[self.cells["changes"].map(len) > 0]

    def fails(self, on: FailOn) -> bool:
        changed = not self.changed.empty or any(self.only.values())
        significant = (self.cells["significant"] | self.cells["exact"]).any()
        verdict = (self.cells["verdict_a"] != self.cells["verdict_b"]).any()
        return bool({"changed": changed, "significant": significant, "verdict": verdict, "never": False}[on])


def compare(a: str, b: str, root: Path = Path(), *, tables: Sequence[str] = (), alpha: float = 0.05) -> SideComparison:
    """All cells of two sides, in the order of their tables; tables: only of these. See read_side.

    InputError: a side is not to be had or has no cells, no side has a table, or alpha is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise InputError(f"--alpha: must be above 0 and below 1, not {alpha:g}")
    about, frames = zip(*(read_side(name, root) for name in (a, b)), strict=True)
    names = list(dict.fromkeys(table for frame in frames for table in frame["table"]))
    if unknown := [name for name in tables if name not in names]:
        raise InputError(f"--tables: no table {unknown[0]!r}; known: {', '.join(names)}")
    left, right = (frame.loc[frame["table"].isin(tables or names)].drop_duplicates(KEY) for frame in frames)
    keys = [pd.MultiIndex.from_frame(frame[KEY]) for frame in (left, right)]
    only = {"A": list(keys[0].difference(keys[1], sort=False)), "B": list(keys[1].difference(keys[0], sort=False))}
    return SideComparison(about=about, alpha=alpha, cells=_tested(left, right, alpha), only=only)


def _tested(left: pd.DataFrame, right: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """SideComparison.cells. Holm's correction is over the tests that could have come out otherwise: one whose p is 1
    whatever is true takes nothing from the others, as exact tests are conditional on their totals (Tarone 1990).
    """
    cells = left.merge(right, on=KEY, suffixes=("_a", "_b"))
    tests = pd.DataFrame(list(map(assess, cells["evidence_a"], cells["evidence_b"])), columns=TESTED)
    tests["adjusted"] = tests["p"]
    types = {**dict.fromkeys(COUNTS, "Int64"), **dict.fromkeys(NUMBERS, float), "open": bool}
    cells = cells.join(tests.astype(types))
    if any(family := cells["open"]):
        cells.loc[family, "adjusted"] = multipletests(cells.loc[family, "p"], method="holm")[1]
    differs = [[name for name in SHOWN if cell[f"{name}_a"] != cell[f"{name}_b"]] for cell in cells.to_dict("records")]
    return cells.assign(
        changes=pd.Series(differs, dtype=object), significant=cells["adjusted"] <= alpha,
        exact=(cells["why"] == "exact") & (cells["value_a"] != cells["value_b"]),
    )  # fmt: skip


def summary(comparison: SideComparison) -> str:
    """One line: how many cells, how many of them differ, and how they were tested."""
    cells, tested = comparison.cells, comparison.cells.dropna(subset="test")
    unpaired = Counter(tested.loc[tested["images"].isna(), "why"])
    reasons = f" ({', '.join(f'{why}: {n}' for why, n in sorted(unpaired.items()))})" if unpaired else ""
    return (
        f"{len(cells)} cells compared, {len(comparison.changed)} changed: {cells['significant'].sum()} significant at "
        f"{comparison.alpha:g} (Holm over {cells['open'].sum()} tests), {cells['exact'].sum()} exact; "
        f"{tested['images'].count()} tested as pairs, {unpaired.total()} unpaired{reasons}; "
        f"{len(comparison.only['A'])} only in A, {len(comparison.only['B'])} only in B"
    )


def render(comparison: SideComparison, form: Format, *, all_cells: bool = False) -> str:
    """The text of a file. all_cells: also those that do not differ."""
    cells, only, (a, b) = comparison.cells if all_cells else comparison.changed, comparison.only, comparison.about
    if form == "csv":  # a cell that only one side has is named, with nothing else
        rows = [[*key, f"only in {side}"] for side, keys in only.items() for key in keys]
        alone = pd.DataFrame(rows, columns=[*KEY, "why"]).reindex(columns=FIELDS)
        frames = _facts(cells).assign(changes=cells["changes"].map(" ".join)), alone
        return "".join(frame.to_csv(index=False, header=frame is not alone, lineterminator="\n") for frame in frames)
    escape, style = (plain, "pipe") if form == "md" else (str, "plain")
    lines = pd.DataFrame([_line(cell) for cell in cells.to_dict("records")]).map(escape)
    table = [str(lines.to_markdown(index=False, tablefmt=style, disable_numparse=True)), escape(READ)]
    tables = {side: Counter(key[0] for key in keys).items() for side, keys in only.items() if keys}
    last = [f"Only in {side}: {', '.join(f'{table} ({n} cells)' for table, n in tables[side])}." for side in tables]
    head = f"# {escape(a)} → {escape(b)}" if form == "md" else f"A: {a}\nB: {b}"
    return "\n\n".join([head, *(table if len(lines) else []), *map(escape, [*last, summary(comparison)])]) + "\n"


def _facts(cells: pd.DataFrame) -> pd.DataFrame:
    """FIELDS. Of numbers six digits: more are not worth a difference between machines."""
    facts = cells.assign(a=cells["value_a"], b=cells["value_b"], significant=cells["significant"] | cells["exact"])
    facts[NUMBERS] = facts[NUMBERS].map(lambda number: float(f"{number:.6g}"))
    return facts.reindex(columns=FIELDS)


def _line(cell: Mapping[Hashable, Any]) -> dict[str, str]:
    """A line of the text and Markdown tables, with the decimals of the cell's values."""
    values, changes = [cell["value_a"], cell["value_b"]], cell["changes"]
    spec = "+.2e" if "e" in "".join(values) else f"+.{max(len(value.partition('.')[2]) for value in values)}f"
    apart, low, high = ("" if pd.isna(cell[name]) else format(cell[name], spec) for name in NUMBERS[:3])
    p, adjusted = ("" if pd.isna(cell[name]) else f"{cell[name]:.2g}" for name in NUMBERS[3:])
    if "value" not in changes:  # what does differ
        others = [name for name in changes if name != "verdict"]
        values = [" ".join([cell[f"value_{s}"], *(f"{name}={cell[f'{name}_{s}']}" for name in others)]) for s in "ab"]
    only, images = "" if pd.isna(cell["only_a"]) else f" {cell['only_a']}:{cell['only_b']}", cell["images"]
    how = f", unpaired: {cell['why']}" if pd.isna(images) else f"{only}, {images} images"
    return {
        **{name: cell[name] for name in KEY}, "A": values[0], "B": values[1], "difference": apart,
        "95 % interval": low and f"{low} to {high}", "p": p, "adjusted": adjusted + "*" * bool(cell["significant"]),
        "test": cell["why"] if pd.isna(cell["test"]) else cell["test"] + how,
        "verdict": f"{cell['verdict_a']} -> {cell['verdict_b']}" if "verdict" in changes else "",
    }  # fmt: skip
