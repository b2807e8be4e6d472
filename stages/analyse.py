"""Analyse one model: analyse.py MODEL -> reports/SCALE/analyses/PAPER/MODEL.{json,csv}."""

from pathlib import Path

from advgrad import stage
from advgrad.errors import InputError
from advgrad.files import write_text


def analyse(name: str) -> None:
    settings, run_config = stage.model(name)
    if run_config.analysis is None:
        raise InputError(f"{name}: is not in analysed of params/{run_config.paper}.yaml")
    pack = Path("data", f"{run_config.dataset}.safetensors")
    folder = stage.results(settings, "analyses", run_config.paper)
    trained, saved = Path("models", run_config.model, "weights.safetensors"), Path("checkpoints", f"{name}.analyse")
    params = run_config.model_dump(include={"dataset", "network", "evaluation", "analysis", "seed"})
    with stage.tracked("analyse", name, settings, params=params, inputs=[pack, trained], paper=run_config.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad import checkpoint
        from advgrad.analysis.run import analyse
        from advgrad.analysis.sweep import COLUMNS
        from advgrad.data.batches import to_device
        from advgrad.data.pack import read_split
        from advgrad.models import registry, weights

        model = registry.build(run_config.network, run_config.dataset)
        registry.check_device(run_config.network, model, device)
        weights.load_weights(trained, model)
        images, labels = to_device(*read_split(pack, "test"), device)
        store = checkpoint.Store(folder=saved, key=run.state(device))
        with stage.bar() as progress:
            analysis = analyse(run_config, model, images, labels, device=device, progress=progress, store=store)
        values, rows = folder / f"{name}.json", folder / f"{name}.csv"
        stage.write_json(values, analysis.values)
        if analysis.sweep:
            stage.write_csv(rows, analysis.sweep)
        else:
            write_text(rows, ",".join(COLUMNS) + "\n")  # an output of the stage has to exist
        run.finish(shown=[values, rows], metrics=analysis.values, seconds=analysis.seconds)
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(analyse)
