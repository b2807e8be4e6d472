"""Train one network in several ways, side by side: curves.py NAME
-> reports/SCALE/analyses/PAPER/NAME.{json,csv}."""

from pathlib import Path

from advgrad import config, determinism, stage


def curves(name: str) -> None:
    settings = config.load_settings(stage.ROOT)
    run_config = config.load_curves(name, settings, stage.ROOT)
    determinism.prepare(settings.determinism)
    pack = Path("data", f"{run_config.curves.dataset}.safetensors")
    folder = stage.results(settings, "analyses", run_config.paper)
    params = run_config.model_dump(include={"network", "training", "curves", "seed"})
    with stage.tracked("curves", name, settings, params=params, inputs=[pack], paper=run_config.paper) as run:
        device = run.device(settings)  # torch comes in here, after the environment is set

        from advgrad import checkpoint
        from advgrad.data.pack import read_split
        from advgrad.training.curves import compare

        saved = Path("checkpoints", f"{name}.curves")
        compared = compare(
            run_config, read_split(pack, "train"), read_split(pack, "test"),
            device=device, folder=saved, key=run.state(device),
            report=lambda variant, epoch, row: run.log(epoch, {f"{variant}.{k}": row[k] for k in row if k != "epoch"}),
        )  # fmt: skip
        values, rows = folder / f"{name}.json", folder / f"{name}.csv"
        stage.write_json(values, compared.values)
        stage.write_csv(rows, compared.rows)
        run.finish(shown=[values, rows], metrics=compared.values)
    checkpoint.remove(saved)


if __name__ == "__main__":
    stage.main(curves)
