"""Signs that an attack is weaker than it looks, of AutoAttack's kind (Croce and Hein 2020; Carlini et al. 2019).

They are read from the outcomes of each image. One run breaks more than another if it leaves at least LEAST less of the
images that both have attacked, and the exact McNemar test over them has p below ALPHA.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from advgrad.config import PaperFile
from advgrad.tables.records import Record, is_there, read_record
from advgrad.tables.significance import mcnemar

LEAST, ALPHA = 0.05, 0.05
ZEROS = 0.05  # share of the entries of input gradients that are exactly 0
STALLED, STANDING = 0.5, 5  # share of the standing images with every Auto-PGD period halving the step; of how many
HARDLY = 0.1  # share of the images that the largest radius leaves, and more than half of what a half as large one does
SQUARE = "square"  # a black box; so are all attacks on a surrogate
PLAIN = ("plain", "ce", "float32")  # gradient, loss, precision: those whose error signal rounds away
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
    left: np.ndarray  # (marks, k) bool, still classified correctly

    def part(self, *keys: str) -> tuple[object, ...]:
        """Of the attack's parameters."""
        return tuple(self.record.summary.runs[self.name].attack.get(key) for key in keys)

    def share(self, mark: int = -1) -> float:
        return 100 * float(self.left[mark].mean())


Sign = tuple[float, _Run, str, str, str]  # size, run, sign, figures, remedy


def _breaks_more(one: _Run, other: _Run, mark: int = -1, earlier: int = -1) -> bool:
    sizes = [run.left.shape[1] for run in (one, other)]
    numbers = [
        np.arange(n) if run.record.index is None else run.record.index[:n]
        for n, run in zip(sizes, (one, other), strict=True)
    ]
    _, at, beside = np.intersect1d(numbers[0], numbers[1], return_indices=True)
    a, b = one.left[mark][at], other.left[earlier][beside]
    return len(a) > 0 and b.mean() - a.mean() >= LEAST and (mcnemar(a, b).p or 0.0) < ALPHA


def _alone(run: _Run) -> Iterator[Sign]:
    """What a run shows by itself."""
    masking, halved = run.record.summary.masking, run.record.halvings.get(run.name)
    if masking.get("zero_gradient", 0.0) >= ZEROS and run.part("gradient", "loss", "precision") == PLAIN:
        zeros, over = (100 * masking.get(name, 0.0) for name in ("zero_gradient", "gap_over_17"))
        figures = f"{zeros:.1f} % of the gradient's entries; {over:.0f} % of the gaps between two logits are over 17"
        yield run.share(), run, "zero gradients", figures, f"{OTHER}; precision float64"
    if halved is not None and halved.size and (standing := run.left[-1]).sum() >= STANDING:
        stalled = float((halved[standing, -1] >= 0).mean())
        if stalled >= STALLED:
            figures = f"each period halved the step at {100 * stalled:.0f} % of {standing.sum()} standing images"
            yield stalled, run, "loss does not rise", figures, "gradient plain or exact; more steps; restarts"
    for earlier, later in combinations(range(len(run.left)), 2):
        if _breaks_more(run, run, earlier, later):
            (few, many), size = (run.share(earlier), run.share(later)), run.share(later) - run.share(earlier)
            figures = f"more steps leave {many:.1f} %, fewer {few:.1f} %"
            yield size, run, "more steps not stronger", figures, "a smaller step; whether the network draws at random"


def _beside(weak: _Run, strong: _Run, black: bool, largest: float = 0.0) -> Iterator[Sign]:
    """What a run shows beside another that should break no more; beside one of the largest radius, that should."""
    (attack, gradient), (other, signal) = weak.name.split("/"), strong.name.split("/")
    figures, size = f"{weak.share():.1f} %, {strong.name} {strong.share():.1f} %", weak.share() - strong.share()
    if black:
        balls = [(norm or "linf", eps) for norm, eps in (run.part("norm", "eps") for run in (weak, strong))]
        if balls[0] == balls[1] and _breaks_more(strong, weak):
            yield size, weak, "black box stronger", figures, OTHER
    elif weak.record is strong.record and attack == other:
        if signal in SIGNALS.get(gradient, ()) and _breaks_more(strong, weak):
            sign = "exact signal stronger" if signal == "exact" else "PGD++ stronger"
            yield size, weak, sign, figures, f"gradient {signal}, and of all the worst"
    elif weak.record is strong.record and weak.record.steps[weak.name] == strong.record.steps[strong.name]:
        one, two = (run.record.summary.runs[run.name].attack for run in (weak, strong))
        ratio = two["eps"] / one["eps"] if one["eps"] else 0.0
        alike = {**one, "eps": 0, "step": 0} == {
            **two,
            "eps": 0,
            "step": two.get("step", 0) - ratio * one.get("step", 0),
        }
        if two["eps"] == largest and alike and ratio >= 2 and strong.share() >= max(100 * HARDLY, weak.share() / 2):
            yield ratio, strong, "larger radius hardly stronger", f"{figures}; {ratio:g} times the radius", OTHER


def flags(outcomes: Path, papers: Mapping[str, PaperFile]) -> list[Flag]:
    """The warning signs of all outcomes that are there, one for each model and sign. outcomes: reports/SCALE/outcomes;
    papers: parameters. InputError if a file is broken.
    """
    own, black = dict[str, list[_Run]](), dict[str, list[_Run]]()
    for name, transfer in ((name, name in file.transfers) for file in papers.values() for name in file.attacked):
        if is_there(outcomes, name, ".json"):
            record = read_record(outcomes, name)
            for attack, array in record.outcomes.items():
                if array.size:
                    unseen = transfer or attack.startswith(SQUARE)
                    run = _Run(record, attack, array[-1] > 0)
                    (black if unseen else own).setdefault(record.summary.model, []).append(run)
    found = []
    for model, runs in sorted(own.items()):
        signs = [sign for run in runs for sign in _alone(run)]
        for one, two in ((one, two) for one in runs for two in runs):
            largest = max(run.record.summary.runs[run.name].attack["eps"] for run in runs if run.record is two.record)
            signs += _beside(one, two, False, largest)
        signs += [sign for weak in runs for strong in black.get(model, []) for sign in _beside(weak, strong, True)]
        for name in dict.fromkeys(sign[2] for sign in signs):
            same = [sign for sign in signs if sign[2] == name]
            _, run, *texts = max(same, key=lambda sign: sign[0])
            others = {(id(other[1].record), other[1].name) for other in same}
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
