"""What a scale costs on a machine, by the cost model alone: PYTHONPATH=src python benchmarks/estimate.py --help.

Prints the table of the README: nothing runs, and no such machine need be here. Attacks are upper bounds.
"""

import argparse
import sys

from advgrad import config
from advgrad.visits import cost


def rows(scale: str, machine: str) -> list[tuple[str, float, float, float, float]]:
    """(paper or `all`, PFLOP and minutes of the trainings, PFLOP and minutes of what follows), one after another."""
    settings, rates = config.Settings(scale=scale), cost.rates(machine)
    found: list[tuple[str, float, float, float, float]] = []
    for paper in config.PAPERS:
        file = config.load_paper(paper)
        models, further = ([config.load_run(name, settings) for name in names] for names in (file.models, file.further))
        trained = [cost.work(run, "train") for run in models]
        tried = [cost.work(run, "attack") for run in [*models, *further]]
        tried += [cost.work(run, "analyse") for run in models if run.analysis]
        both = [(sum(w["flop"] for w in part) / 1e15, sum(cost.seconds(w, rates) for w in part) / 60)
                for part in (trained, tried)]  # fmt: skip
        found.append((paper, *both[0], *both[1]))
    return [*found, ("all", *(sum(column) for column in list(zip(*found, strict=True))[1:]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", default="gpu")
    parser.add_argument("--machine", default="NVIDIA H200", help="H200, H100, A100; any other name is a CPU")
    told = parser.parse_args()
    for name, *numbers in rows(told.scale, told.machine):
        sys.stdout.write(f"| {name} | {' | '.join(f'{number:.1f}' for number in numbers)} |\n")


if __name__ == "__main__":
    main()
