"""How often a claim's verdict is wrong where the truth is known: python benchmarks/verdicts.py [--draws 1000]

Outcomes of images are drawn, tables' cells made of them as the pipeline does, and a claim judged on them. Printed is
the share of draws in which a claim that is false is supported, or one that is true is contradicted; at most 5 %.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from advgrad.claims.judge import grid_of, judge_claims
from advgrad.claims.spec import Claims
from advgrad.tables.cells import COLUMNS, frame
from advgrad.tables.estimate import share
from advgrad.tables.spec import Source

Draw = tuple[dict[str, np.ndarray], dict[str, Any], bool]  # column -> (n,) outcomes, what the claim says, its truth
TEST_SET = 10_000


def judged(outcomes: dict[str, np.ndarray], told: dict[str, Any]) -> str:
    """The verdict of a claim with these keys, of one comparison or several, about attacks on the same images."""
    cells = []
    for column, hits in outcomes.items():
        ours = share(hits)
        numbers = {"value": ours.value, "low": ours.low, "high": ours.high, "n": len(hits), "format": ".6f"}
        names = {"paper": "p", "table": "1", "row": "r", "column": column, "unit": "%", "reason": "", "share": 1.0}
        cells.append(dict.fromkeys(COLUMNS) | names | {"verdict": "no paper value"} | numbers)
    claims = Claims.model_validate({"paper": "p", "claims": {"c": {"says": "", "where": "", **told}}})
    known = {column: pd.Series(hits.astype(float), name="data") for column, hits in outcomes.items()}
    grid = grid_of(
        frame(cells).assign(place="Table 1"), lambda _, __, at: (Source(metric="accuracy"), known[at], "images")
    )
    return judge_claims(claims, grid, "all", "simulated")["verdict"].iloc[0]


def says(relation: str, *columns: str, **more: Any) -> dict[str, Any]:
    """A claim that each column is related to b, or to a value."""
    than = {} if "value" in more else {"than": {"columns": ["b"]}}
    return {"comparisons": [{"tables": [1], "columns": columns or ["a"], "relation": relation, **than, **more}]}


def broken(rng: np.random.Generator, n: int, rate: float, also: np.ndarray | None = None, kept: float = 0.9) -> Any:
    """(n,) outcomes of which a share is 1; of an attack like another one, which kept of the images share."""
    fresh = rng.random(n) < rate
    return fresh if also is None else np.where(rng.random(n) < kept, also, fresh)


def halves(rng: np.random.Generator, drawn: bool) -> Draw:
    """A test set of two populations in order, 45 and 60 %, like MNIST's: is its accuracy at least 50 %?"""
    whole = rng.random(TEST_SET) < np.where(np.arange(TEST_SET) < TEST_SET // 2, 0.45, 0.6)
    order = rng.permutation(TEST_SET) if drawn else np.arange(TEST_SET)
    return {"a": whole[order[:1000]]}, says(">=", value=50), True


def equal(rng: np.random.Generator, n: int, relation: str, **more: Any) -> Draw:
    """Two attacks that break equally many, mostly the same images."""
    b = broken(rng, n, 0.5)
    return {"a": broken(rng, n, 0.5, b), "b": b}, says(relation, **more), relation in ("<=", "within")


def many(rng: np.random.Generator) -> Draw:
    """Twenty such pairs, of which the claim says that none is worse."""
    b, names = broken(rng, 500, 0.5), [f"a{i}" for i in range(20)]
    return {"b": b} | {name: broken(rng, 500, 0.5, b) for name in names}, says("<=", *names), True


def margin(rng: np.random.Generator) -> Draw:
    """Two attacks that are exactly the margin apart: not within it."""
    b = broken(rng, 2000, 0.5)
    return {"a": broken(rng, 2000, 0.7, b), "b": b}, says("within", tolerance=2), False


def seeds(rng: np.random.Generator) -> Draw:
    """Two trainings that are alike; a seed makes 2 points on 10,000 images, where chance makes half a point."""
    rates = 0.9 + 0.02 * rng.standard_normal(2)
    return {"a": broken(rng, TEST_SET, rates[0]), "b": broken(rng, TEST_SET, rates[1])}, says("<") | {"seeds": 6}, False


CASES: dict[str, Callable[[np.random.Generator], Draw]] = {
    "two populations, the first 1,000 images": lambda rng: halves(rng, drawn=False),
    "two populations, 1,000 images drawn": lambda rng: halves(rng, drawn=True),
    "equal attacks, 500 images: a < b": lambda rng: equal(rng, 500, "<"),
    "equal attacks, 500 images: a <= b": lambda rng: equal(rng, 500, "<="),
    "equal attacks, 5 images: a < b": lambda rng: equal(rng, 5, "<"),
    "equal attacks, 500 images: within 1": lambda rng: equal(rng, 500, "within", tolerance=1),
    "2 points apart, 2,000 images: within 2": margin,
    "20 pairs of equal attacks: none is worse": many,
    "equal trainings of one seed each: a < b": seeds,
}


def rates(case: str, draws: int) -> tuple[float, float]:
    """Shares of wrong verdicts, and of verdicts at all."""
    rng = np.random.default_rng(0)
    verdicts = [(judged(outcomes, told), truth) for outcomes, told, truth in (CASES[case](rng) for _ in range(draws))]
    wrong = sum(verdict == ("contradicted" if truth else "supported") for verdict, truth in verdicts)
    return wrong / draws, sum(verdict in ("supported", "contradicted") for verdict, _ in verdicts) / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    for case, (wrong, decided) in ((case, rates(case, parser.parse_args().draws)) for case in CASES):
        sys.stdout.write(f"{case:45} wrong {100 * wrong:5.1f} %   decided {100 * decided:5.1f} %\n")


if __name__ == "__main__":
    main()
