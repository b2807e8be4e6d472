"""Train one model: train.py MODEL -> models/MODEL/weights.safetensors and, in
reports/SCALE/trainings/PAPER/DATASET, MODEL.{csv,json}: its curve, and what it came to.

A recipe with a checkpoint takes its weights from there, and nothing is trained: the curve is empty. A model with a fork
goes on from the state that the other model's training has saved.
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
    params = run_config.model_dump(include={"dataset", "network", "training", "fork", "seed"})
    trunk = Path("models", run_config.fork, "weights.safetensors") if run_config.fork else None
    kind, inputs = ("fork", [pack, trunk]) if trunk else ("train", [pack])
    with stage.tracked(kind, name, settings, params=params, inputs=inputs, paper=run_config.paper) as run:
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
                trunk=weights.load_fork(trunk) if trunk else None,
            )  # fmt: skip
            states = checkpoint.group("best", result.best) | checkpoint.group("fork", result.kept)
            weights.save_weights(weights_file, result.state | states, result.precision)
            stage.write_csv(curve, result.curve)
            metrics = result.metrics(registry.macs(model, DATASETS[run_config.dataset].shape))
            metrics |= {"fork": {"model": run_config.fork, "epoch": int(result.curve[0]["epoch"]) - 1}} if trunk else {}
            epochs = result.seconds
        stage.write_json(values, metrics)
        run.finish(outputs=[weights_file], shown=[curve, values], metrics=metrics, epochs=epochs)
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(train)
