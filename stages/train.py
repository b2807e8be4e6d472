"""Train one model: train.py MODEL -> models/MODEL/weights.safetensors and, in
reports/SCALE/trainings/PAPER/DATASET, MODEL.{csv,json}: its curve, and what it came to.

A recipe with a checkpoint takes its weights from there, and nothing is trained: the curve is empty.
"""

from pathlib import Path

from advgrad import stage
from advgrad.files import write_text


def train(name: str) -> None:
    settings, run_config = stage.model(name)
    recipe, pack = run_config.training, Path("data", f"{run_config.dataset}.safetensors")
    weights_file = Path("models", name, "weights.safetensors")
    folder = stage.results(settings, "trainings", run_config.paper, run_config.dataset)
    curve, values = folder / f"{name}.csv", folder / f"{name}.json"
    params = run_config.model_dump(include={"dataset", "network", "training", "seed"})
    with stage.tracked("train", name, settings, params=params, inputs=[pack], paper=run_config.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad import checkpoint
        from advgrad.data.datasets import DATASETS
        from advgrad.data.pack import read_split
        from advgrad.draws import seeded
        from advgrad.models import imported, registry, weights
        from advgrad.training import loop, validation

        seed = run_config.seed + recipe.seed
        with seeded(seed, "init"):
            model = registry.build(run_config.network, run_config.dataset)
        registry.check_device(run_config.network, model, device)
        saved = Path("checkpoints", name)
        if recipe.checkpoint is not None:
            result = imported.read(recipe.checkpoint, run_config.network, model)
            weights.save_weights(weights_file, result.state, origin=result.origin)
            write_text(curve, ",".join(imported.COLUMNS) + "\n")  # an output of the stage has to exist
            metrics, epochs = result.metrics(), None
        else:
            data, held_out = validation.split(recipe, *read_split(pack, "train"))
            result = loop.train(
                recipe, run_config.network, model, data, held_out,
                seed=seed, device=device, checkpoint=saved, key=run.state(device), on_epoch=run.log,
            )  # fmt: skip
            weights.save_weights(weights_file, result.state | checkpoint.group("best", result.best), result.precision)
            stage.write_csv(curve, result.curve)
            metrics = result.metrics(registry.macs(model, DATASETS[run_config.dataset].shape))
            epochs = result.seconds
        stage.write_json(values, metrics)
        run.finish(outputs=[weights_file], shown=[curve, values], metrics=metrics, epochs=epochs)
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(train)
