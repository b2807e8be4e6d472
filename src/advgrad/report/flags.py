"""Signs that an attack is weaker than it looks, of AutoAttack's kind (Croce and Hein 2020; Carlini et al. 2019).

They are read from the outcomes of each image. One run breaks more than another if it leaves at least LEAST less of the
images that both have attacked, and the exact McNemar test over them has p below ALPHA.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from advgrad.config import PaperFile
from advgrad.tables.records import Record, is_there, read_record
from advgrad.tables.significance import mcnemar

LEAST, ALPHA = 0.05, 0.05
ZEROS = 0.05  # share of the entries of input gradients that are exactly 0
STALLED, STANDING = 0.5, 5  # share of the standing images with every Auto-PGD period halving the step; of how many
SQUARE = "square"  # a black box; so are all attacks on a surrogate
PLAIN = {"gradient": "plain", "loss": "ce", "precision": "float32"}  # whose error signal rounds away
SIGNALS = {"plain": ("exact", "njs", "hns"), "njs": ("exact",), "hns": ("exact",)}  # none of these should break more
OTHER = "gradient exact, njs or hns; loss margin; restarts"


class Flag(NamedTuple):
    """A warning sign of a model, at the run where it is largest."""

    model: str
    attack: str  # ATTACK/GRADIENT, whose figure is too high
    more: int  # of the model's runs that show it too
    sign: str
    figures: str
    remedy: str


class _Run(NamedTuple):
    """One attack with all its restarts."""

    record: Record
    name: str
    left: pd.DataFrame  # image x mark: bool, still classified correctly
    black: bool  # it has not seen the model's gradients

    @property
    def share(self) -> float:
        """Of images left at last, in percent."""
        return 100 * float(self.left.iloc[:, -1].mean())


Sign = tuple[float, _Run, str, str, str]  # size, run, sign, figures, remedy


def _runs(record: Record, transfer: bool) -> Iterator[_Run]:
    for name, outcome in record.outcomes.items():
        if outcome.size:
            index = None if record.index is None else record.index[: outcome.shape[2]]
            yield _Run(record, name, pd.DataFrame(outcome[-1].T > 0, index), transfer or name.startswith(SQUARE))


def _breaks_more(strong: pd.Series, weak: pd.Series) -> bool:
    a, b = pd.concat([strong, weak], axis=1, join="inner").to_numpy().T
    return len(a) > 0 and b.mean() - a.mean() >= LEAST and (mcnemar(a, b).p or 0.0) < ALPHA


def _alone(run: _Run) -> Iterator[Sign]:
    """What a run shows by itself."""
    record, left = run.record, run.left
    masking, halved = record.summary.masking, record.halvings.get(run.name)
    if masking.get("zero_gradient", 0.0) >= ZEROS and record.summary.runs[run.name].attack.items() >= PLAIN.items():
        zeros, over = (100 * masking.get(name, 0.0) for name in ("zero_gradient", "gap_over_17"))
        figures = f"{zeros:.1f} % of the gradient's entries; {over:.0f} % of the gaps between two logits are over 17"
        yield run.share, run, "zero gradients", figures, f"{OTHER}; precision float64"
    if halved is not None and halved.size and (standing := left.iloc[:, -1].to_numpy()).sum() >= STANDING:
        stalled = float((halved[standing, -1] >= 0).mean())
        if stalled >= STALLED:
            figures = f"each period halved the step at {100 * stalled:.0f} % of {standing.sum()} standing images"
            yield stalled, run, "loss does not rise", figures, "gradient plain or exact; more steps; restarts"
    for earlier, later in combinations(left, 2):
        if _breaks_more(left[earlier], left[later]):
            few, many = 100 * left[earlier].mean(), 100 * left[later].mean()
            figures, remedy = (
                f"more steps leave {many:.1f} %, fewer {few:.1f} %",
                "a smaller step; whether the network draws at random",
            )
            yield many - few, run, "more steps not stronger", figures, remedy


def _beside(weak: _Run, strong: _Run) -> Iterator[Sign]:
    """What a run shows beside another that should break no more."""
    (attack, gradient), (other, signal) = weak.name.split("/"), strong.name.split("/")
    if strong.black:
        attacks = [run.record.summary.runs[run.name].attack for run in (weak, strong)]
        balls = [(of.get("norm") or "linf", of.get("eps")) for of in attacks]
        comparable, sign, remedy = balls[0] == balls[1], "black box stronger", OTHER
    else:
        comparable = weak.record is strong.record and attack == other and signal in SIGNALS.get(gradient, ())
        sign = "exact signal stronger" if signal == "exact" else "PGD++ stronger"
        remedy = f"gradient {signal}, and of all the worst"
    if comparable and _breaks_more(strong.left.iloc[:, -1], weak.left.iloc[:, -1]):
        yield weak.share - strong.share, weak, sign, f"{weak.share:.1f} %, {strong.name} {strong.share:.1f} %", remedy


def flags(outcomes: Path, papers: Mapping[str, PaperFile]) -> list[Flag]:
    """The warning signs of all outcomes that are there, one for each model and sign. outcomes: reports/SCALE/outcomes;
    papers: parameters. InputError if a file is broken.
    """
    models, found = dict[str, list[_Run]](), []
    for name, transfer in ((name, name in file.transfers) for file in papers.values() for name in file.attacked):
        if is_there(outcomes, name, ".json"):
            record = read_record(outcomes, name)
            models.setdefault(record.summary.model, []).extend(_runs(record, transfer))
    for model, runs in sorted(models.items()):
        own, black = ([run for run in runs if run.black == unseen] for unseen in (False, True))
        signs = [sign for run in own for sign in _alone(run)]
        for others in (own, black):
            signs += [sign for weak in own for strong in others for sign in _beside(weak, strong)]
        for name in dict.fromkeys(sign[2] for sign in signs):
            same = [sign for sign in signs if sign[2] == name]
            _, run, *texts = max(same, key=lambda sign: sign[0])
            others = {(other[1].record.file, other[1].name) for other in same}
            found.append(Flag(model, run.name, len(others) - 1, *texts))
    return found


def listed(found: list[Flag]) -> str:
    """The flags as a Markdown list, for summary.md."""
    lines = [
        f"- {flag.model}, {flag.attack}{f' and {flag.more} more' * (flag.more > 0)}: {flag.sign} ({flag.figures}). "
        f"Try: {flag.remedy}."
        for flag in found
    ]
    return "\n".join(["Signs that an attack is weaker than it looks:", "", *(lines or ["- none."])]) + "\n"
