"""Signs that an attack is weaker than it looks, of AutoAttack's kind (Croce and Hein 2020; Carlini et al. 2019).

They are read from the outcomes of each image. One run breaks more than another if it leaves at least LEAST less of the
images that both have attacked, and the exact McNemar test over them has p below ALPHA.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advgrad.config import PaperFile
from advgrad.tables.records import Record, is_there, read_record
from advgrad.tables.significance import mcnemar

LEAST, ALPHA = 0.05, 0.05
ZEROS = 0.05  # share of the entries of input gradients that are exactly 0
STALLED, STANDING = 0.5, 5  # share of the standing images with every Auto-PGD period halving the step; of how many
PLAIN = {"gradient": "plain", "loss": "ce", "precision": "float32"}  # whose error signal rounds away
SIGNALS = {"plain": ("exact", "njs", "hns"), "njs": ("exact",), "hns": ("exact",)}  # none of these should break more
OTHER = "gradient exact, njs or hns; loss margin; restarts"
REMEDIES = {
    "zero gradients": f"{OTHER}; precision float64",
    "loss does not rise": "gradient plain or exact; more steps; restarts",
    "more steps not stronger": "a smaller step; whether the network draws at random",
    "larger radius not stronger": OTHER,
    "exact signal stronger": "gradient exact, and of all the worst",
    "PGD++ stronger": "gradient njs or hns, and of all the worst",
    "black box stronger": OTHER,
}


class Flag(NamedTuple):
    """A warning sign of a model, at the run where it is largest."""

    model: str
    attack: str  # ATTACK/GRADIENT, whose figure is too high
    more: int  # of the model's runs that show it too
    sign: str  # of REMEDIES
    figures: str
    remedy: str


@dataclass(frozen=True, eq=False)
class _Run:
    """One attack with all its restarts."""

    record: Record
    name: str
    attack: dict[str, Any]  # its parameters
    left: np.ndarray  # (marks, k) bool, still classified correctly
    black: bool  # blind to the model's gradients: Square, and all attacks on a surrogate

    def share(self, mark: int = -1) -> float:
        return 100 * float(self.left[mark].mean())


Sign = tuple[str, float, _Run, str]  # of REMEDIES, size, run, figures


def _breaks_more(strong: _Run, weak: _Run, earlier: int = -1, later: int = -1) -> bool:
    """Whether the strong one leaves less at its earlier mark than the weak one at its later one."""
    sides = [(run.left.shape[1], run.record.index) for run in (strong, weak)]
    one, other = (np.arange(k) if index is None else index[:k] for k, index in sides)
    _, at, beside = np.intersect1d(one, other, return_indices=True)
    a, b = strong.left[earlier][at], weak.left[later][beside]
    return len(a) > 0 and b.mean() - a.mean() >= LEAST and (mcnemar(a, b).p or 0.0) < ALPHA


def _alone(run: _Run) -> Iterator[Sign]:
    """What a run shows by itself."""
    masking, halved, standing = run.record.summary.masking, run.record.halvings.get(run.name), run.left[-1]
    if masking.get("zero_gradient", 0.0) >= ZEROS and run.attack.items() >= PLAIN.items():
        zeros, over = (100 * masking.get(name, 0.0) for name in ("zero_gradient", "gap_over_17"))
        figures = f"{zeros:.1f} % of the gradient's entries; {over:.0f} % of the gaps between two logits are over 17"
        yield "zero gradients", run.share(), run, figures
    if halved is not None and halved.size and standing.sum() >= STANDING:
        stalled = float((halved[standing, -1] >= 0).mean())
        if stalled >= STALLED:
            figures = f"each period halved the step at {100 * stalled:.0f} % of {standing.sum()} standing images"
            yield "loss does not rise", stalled, run, figures
    for earlier, later in combinations(range(len(run.left)), 2):
        if _breaks_more(run, run, earlier, later):
            few, many = run.share(earlier), run.share(later)
            yield "more steps not stronger", many - few, run, f"more steps leave {many:.1f} %, fewer {few:.1f} %"


def _beside(weak: _Run, strong: _Run) -> Iterator[Sign]:
    """What a run shows beside another that should break no more."""
    (attack, gradient), (other, signal) = weak.name.split("/"), strong.name.split("/")
    (norm, eps, step), (other_norm, less, least) = (
        (run.attack.get("norm") or "linf", run.attack.get("eps", 0), run.attack.get("step", 0))
        for run in (weak, strong)
    )
    sign, comparable = "larger radius not stronger", weak.record is strong.record
    if strong.black:
        sign, comparable = "black box stronger", (norm, eps) == (other_norm, less)
    elif attack == other:
        sign = "exact signal stronger" if signal == "exact" else "PGD++ stronger"
        comparable &= signal in SIGNALS.get(gradient, ())
    else:  # the step grows with the radius, else it may be too short for it
        grown = {**strong.attack, "eps": eps, "step": step}
        comparable &= eps > less and step * less == least * eps and {"step": step, **weak.attack} == grown
    if comparable and _breaks_more(strong, weak):
        figures = f"{weak.share():.1f} %, {strong.name} {strong.share():.1f} %"
        yield sign, weak.share() - strong.share(), weak, figures


def flags(outcomes: Path, papers: Mapping[str, PaperFile]) -> list[Flag]:
    """The warning signs of all outcomes that are there, one for each model and sign. outcomes: reports/SCALE/outcomes;
    papers: parameters. InputError if a file is broken.
    """
    models, found = dict[str, list[_Run]](), []
    known = [(name, name in file.transfers) for file in papers.values() for name in file.attacked]
    for name, transfer in [of for of in known if is_there(outcomes, of[0], ".json")]:
        record = read_record(outcomes, name)
        for attack, array in record.outcomes.items():
            if array.size:
                black = transfer or attack.startswith("square")
                run = _Run(record, attack, record.summary.runs[attack].attack, array[-1] > 0, black)
                models.setdefault(record.summary.model, []).append(run)
    for model, runs in sorted(models.items()):
        signs = [sign for run in runs if not run.black for sign in _alone(run)]
        signs += [sign for weak in runs if not weak.black for strong in runs for sign in _beside(weak, strong)]
        for name, remedy in REMEDIES.items():
            if same := [sign[1:] for sign in signs if sign[0] == name]:
                _, run, figures = max(same, key=lambda sign: sign[0])
                found.append(Flag(model, run.name, len({run for _, run, _ in same}) - 1, name, figures, remedy))
    return found
