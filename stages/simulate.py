"""Run one teacher-student simulation: simulate.py NAME -> analyses/NAME/{values.json,curve.csv}."""

from pathlib import Path

from advgrad import stage
from advgrad.config import load_simulation
from advgrad.simulation.run import record
from advgrad.simulation.summary import curve, values


def simulate(name: str) -> None:
    settings = stage.settings()
    run_config = load_simulation(name, settings, stage.ROOT)
    simulation, folder = run_config.simulation, Path("analyses", name)
    params = run_config.model_dump(include={"simulation", "seed"})
    with stage.tracked("simulate", name, settings, params=params, paper=run_config.paper) as run:
        with stage.bar("steps") as progress:
            trajectories = record(simulation, run_config.seed, lambda done: progress(name, done, simulation.steps))
        summary = values(simulation, trajectories)
        stage.write_json(folder / "values.json", summary)
        stage.write_csv(folder / "curve.csv", curve(simulation, trajectories))
        run.finish(shown=[folder / "values.json", folder / "curve.csv"], metrics=summary)


if __name__ == "__main__":
    stage.main(simulate)
