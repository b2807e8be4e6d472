"""Run one teacher-student simulation: simulate.py NAME -> reports/SCALE/analyses/PAPER/NAME.{json,csv}."""

from advgrad import stage
from advgrad.config.load import load_simulation
from advgrad.simulation.run import record
from advgrad.simulation.summary import curve, values


def simulate(name: str) -> None:
    settings = stage.settings()
    run_config = load_simulation(name, settings, stage.ROOT)
    simulation, folder = run_config.simulation, stage.results(settings, "analyses", run_config.paper)
    params = run_config.model_dump(include={"simulation", "seed"})
    with stage.tracked("simulate", name, settings, params=params, paper=run_config.paper) as run:
        with stage.bar("steps") as progress:
            trajectories = record(simulation, run_config.seed, lambda done: progress(name, done, simulation.steps))
        summary = values(simulation, trajectories)
        values_file, curve_file = folder / f"{name}.json", folder / f"{name}.csv"
        stage.write_json(values_file, summary)
        stage.write_csv(curve_file, curve(simulation, trajectories))
        run.finish(shown=[values_file, curve_file], metrics=summary)


if __name__ == "__main__":
    stage.main(simulate)
