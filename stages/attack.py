"""Attack one model: attack.py NAME -> results/NAME/{outcomes.safetensors,metrics.json}.

NAME is a model, or further attacks on one; with a surrogate they are made on it and evaluated on the model.
"""

from pathlib import Path

from advgrad import config, stage

PARAMS = {"model", "weights", "dataset", "network", "evaluation", "surrogate", "surrogate_network", "seed"}


def kind(run_config: config.Run) -> str:
    """The DVC stage that NAME belongs to."""
    return "transfer" if run_config.surrogate else "attack" if run_config.name == run_config.model else "further"


def attack(name: str) -> None:
    settings, run_config = stage.model(name)
    pack, folder, saved = Path("data", f"{run_config.dataset}.safetensors"), Path("results", name), Path("checkpoints")
    saved = saved / f"{name}.attack"
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
        stage.write_arrays(folder / "outcomes.safetensors", outcomes.arrays())
        stage.write_json(folder / "metrics.json", metrics)
        run.finish(outputs=[folder / "outcomes.safetensors"], shown=[folder / "metrics.json"], metrics=metrics)
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(attack)
