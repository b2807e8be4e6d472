"""Run one teacher-student simulation: simulate.py NAME -> analyses/NAME/{values.json,curve.csv}."""

from pathlib import Path

from advgrad import stage
from advgrad.config import load_simulation
from advgrad.simulation.run import record
from advgrad.simulation.summary import curve, values


def simulate(name: str) -> None:
    settings = stage.settings()
    this = load_simulation(name, settings, stage.ROOT)
    simulation, folder = this.simulation, Path("analyses", name)
    params = this.model_dump(include={"simulation", "seed"})
    with stage.tracked("simulate", name, settings, params=params, paper=this.paper) as run:
        with stage.bar("steps") as progress:
            walked = record(simulation, this.seed, lambda done: progress(name, done, simulation.steps))
        found = values(simulation, walked)
        stage.write_json(folder / "values.json", found)
        stage.write_csv(folder / "curve.csv", curve(simulation, walked))
        run.finish(shown=[folder / "values.json", folder / "curve.csv"], metrics=found)


if __name__ == "__main__":
    stage.main(simulate)
