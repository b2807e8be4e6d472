"""Attack one model: attack.py NAME -> reports/SCALE/outcomes/PAPER/DATASET/NAME.{safetensors,json}.

NAME is a model, or further attacks on one; with a surrogate they are made on it and evaluated on the model.
"""

from pathlib import Path

from advgrad import config, stage

PARAMS = {"model", "weights", "dataset", "network", "evaluation", "surrogate", "surrogate_network", "seed"}


def kind(run_config: config.Run) -> str:
    """The DVC stage that NAME belongs to."""
    if run_config.name != run_config.model:
        return "transfer" if run_config.surrogate else "further"
    return "attack"


def attack(name: str) -> None:
    settings, run_config = stage.model(name)
    pack, saved = Path("data", f"{run_config.dataset}.safetensors"), Path("checkpoints", f"{name}.attack")
    folder = stage.results(settings, "outcomes", run_config.paper, run_config.dataset)
    arrays, values = folder / f"{name}.safetensors", folder / f"{name}.json"
    networks = {run_config.model: run_config.network}  # the model's own first
    if run_config.surrogate is not None and run_config.surrogate_network is not None:
        networks[run_config.surrogate] = run_config.surrogate_network
    trained = {key: Path("models", key, "weights.safetensors") for key in networks}
    params, inputs = run_config.model_dump(include=PARAMS), [pack, *trained.values()]
    with stage.tracked(kind(run_config), name, settings, params=params, inputs=inputs, paper=run_config.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad import checkpoint
        from advgrad.attacks.evaluate import evaluate, summary
        from advgrad.data.batches import to_device
        from advgrad.data.pack import read_split
        from advgrad.models import registry, weights

        models = {key: registry.build(network, run_config.dataset) for key, network in networks.items()}
        for key, network in networks.items():
            registry.check_device(network, models[key], device)
            weights.load_weights(trained[key], models[key], run_config.weights if key == run_config.model else "last")
        images, labels = to_device(*read_split(pack, "test"), device)
        store = checkpoint.Store(folder=saved, key=run.state(device))
        with stage.bar() as progress:
            outcomes = evaluate(
                models[run_config.model], images, labels, run_config.evaluation, run_config.network,
                seed=run_config.seed, device=device, progress=progress, store=store,
                surrogate=models.get(run_config.surrogate or ""), surrogate_network=run_config.surrogate_network,
            )  # fmt: skip
        training = weights.training_of(trained[run_config.model])
        metrics = {"model": run_config.model, **summary(outcomes, run_config.evaluation), "training": training}
        stage.write_arrays(arrays, outcomes.arrays())
        stage.write_json(values, metrics)
        run.finish(outputs=[arrays], shown=[values], metrics=metrics)
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(attack)
