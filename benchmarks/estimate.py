"""What a scale costs on a machine, by the cost model alone: PYTHONPATH=src python benchmarks/estimate.py --help.

Prints the table of docs/gpu.md, or each stage: nothing runs, and no such machine need be here. Attacks are upper
bounds.
"""

import argparse
import sys
from collections.abc import Collection, Sequence

from advgrad import config
from advgrad.visits import cost, plan, speed

TRAINED = (*plan.TRAININGS, "curves")  # the first two columns; the others are of all that follows


def stages(scale: str) -> list[tuple[str, config.Paper, dict[str, float]]]:
    """(name, paper, work) of every stage that a visit runs."""
    settings, found = config.Settings(scale=scale), []
    for paper in config.PAPERS:
        file = config.load_paper(paper)
        models, further = ([config.load_run(name, settings) for name in names] for names in (file.models, file.further))
        found += [(f"{'fork' if run.fork else 'train'}@{run.name}", paper, cost.work(run, "train")) for run in models]
        found += [(f"attack@{run.name}", paper, cost.work(run, "attack")) for run in models]
        found += [(f"analyse@{run.name}", paper, cost.work(run, "analyse")) for run in models if run.analysis]
        found += [(f"{kind(run)}@{run.name}", paper, cost.work(run, "attack")) for run in further]
        curves = [config.load_curves(name, settings) for name in file.curves]
        found += [(f"curves@{run.name}", paper, cost.curves_work(run)) for run in curves]
        walks = [config.load_simulation(name, settings) for name in file.simulations]
        found += [(f"simulate@{run.name}", paper, cost.simulation_work(run)) for run in walks]
    return found


def kind(further: config.Run) -> str:
    return "transfer" if further.surrogate else "further"


def costs(scale: str, machine: str) -> list[tuple[str, config.Paper, float, float]]:
    """(stage, paper, PFLOP, minutes)"""
    rates = speed.rates(machine)
    return [(name, paper, work.get("flop", 0.0) / 1e15, speed.seconds(work, rates) / 60)
            for name, paper, work in stages(scale)]  # fmt: skip


def rows(scale: str, machine: str) -> list[tuple[str, float, float, float, float]]:
    """(paper or `all`, PFLOP and minutes of the trainings, PFLOP and minutes of what follows), one after another."""
    every = costs(scale, machine)

    def row(name: str, papers: Collection[str]) -> tuple[str, float, float, float, float]:
        own = [(stage.partition("@")[0] in TRAINED, flop, time) for stage, of, flop, time in every if of in papers]
        first, rest = ([(flop, time) for is_first, flop, time in own if is_first == wanted] for wanted in (True, False))
        return name, *_sums(first), *_sums(rest)

    return [*(row(paper, [paper]) for paper in config.PAPERS), row("all", config.PAPERS)]


def _sums(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(one for one, _ in pairs), sum(other for _, other in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", default="gpu")
    parser.add_argument("--machine", default="NVIDIA H200", help="H200, H100, A100; any other name is a CPU")
    parser.add_argument("--stages", action="store_true", help="each stage: PFLOP, minutes")
    told = parser.parse_args()
    if told.stages:
        for name, _, flop, minutes in costs(told.scale, told.machine):
            sys.stdout.write(f"{name:<44} {flop:8.2f} {minutes:8.2f}\n")
        return
    for name, *numbers in rows(told.scale, told.machine):
        sys.stdout.write(f"| {name} | {' | '.join(f'{number:.1f}' for number in numbers)} |\n")


if __name__ == "__main__":
    main()
