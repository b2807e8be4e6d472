"""Snakemake with a bucket for files, as on Kubernetes: the same bytes, and nothing to do the second time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from advgrad.visits.plan import set_scale
from tests.unit import visits_toy as toy

ROOT = Path(__file__).parents[2]
TABLE, STAGES = "table-attack-bnn-mnist-14", 6  # with what it needs: data, two trainings, their attacks
KEYS = {"access_key": "nobody", "secret_key": "nothing"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 server on this machine with one bucket; its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, bucket: str) -> Path:
    """A clone at scale smoke with the Kubernetes profile's storage and this machine's cores."""
    folder = toy.clone(tmp_path_factory.mktemp("bucket") / "project")
    set_scale(folder, "smoke")
    profile = yaml.safe_load((ROOT / "profiles" / "kubernetes" / "config.yaml").read_text())
    for key in ("executor", "jobs", "container-image", "retries"):
        del profile[key]
    profile |= {"cores": 2, "storage-s3-endpoint-url": bucket, "default-storage-prefix": "s3://here/advgrad"}
    (folder / "profiles" / "here").mkdir()
    (folder / "profiles" / "here" / "config.yaml").write_text(yaml.safe_dump(profile))
    store(bucket).create_bucket(Bucket="here")
    return folder


def store(bucket: str):
    keys = {"aws_access_key_id": KEYS["access_key"], "aws_secret_access_key": KEYS["secret_key"]}
    return boto3.client("s3", endpoint_url=bucket, region_name="us-east-1", **keys)


def environment(folder: Path) -> dict[str, str]:
    kept = os.environ | {f"SNAKEMAKE_STORAGE_S3_{name.upper()}": value for name, value in KEYS.items()}
    kept["PYTHONPATH"] = str(folder / "src")
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if (ROOT / "data" / "mnist.safetensors").is_file():
        kept["ADVGRAD_DATA_MIRROR"] = str(ROOT / "data")
    return kept


def snakemake(folder: Path, *words: str, profile: str = "here") -> str:
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--workflow-profile",
        f"profiles/{profile}",
        *words,
        "table_attack_bnn_mnist_14",
    ]
    found = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-4000:]
    return found.stdout + found.stderr


@pytest.mark.slow
def test_results_in_a_bucket_are_the_same_bytes(project: Path, bucket: str) -> None:
    as_on_kubernetes = ("--storage-s3-endpoint-url", bucket, "--default-storage-prefix", "s3://here/advgrad")
    assert f"{STAGES} stages to run" in snakemake(project, "-n", *as_on_kubernetes, profile="kubernetes"), (
        "it takes the profile"
    )
    assert f"{STAGES}/{STAGES}" in snakemake(project)
    listed = store(bucket).list_objects_v2(Bucket="here", Prefix="advgrad/")["Contents"]
    objects = {each["Key"].removeprefix("advgrad/"): each["Key"] for each in listed}
    weights = "models/bnn-mlp-wq/weights.safetensors"
    assert {weights, "results/bnn-mlp-wq-further/outcomes.safetensors", "reports/cells/attack-bnn-mnist-14.csv"} <= set(
        objects
    )
    assert "Nothing to be done" in snakemake(project, "-n")
    recipe = project / "params" / "scales" / "smoke.yaml"
    recipe.write_text(recipe.read_text().replace("mnist-further: {images: ", "mnist-further: {images: 1", 1))
    said = snakemake(project, "-n")
    assert "further__bnn_mlp_wq_further" in said
    assert "train__bnn_mlp_wq " not in said

    whole = toy.clone(project.parent / "whole")
    set_scale(whole, "smoke")
    made = subprocess.run(
        [sys.executable, "-m", "advgrad.cli", "repro", TABLE],
        cwd=whole, env=environment(whole), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    for path, key in objects.items():
        assert store(bucket).get_object(Bucket="here", Key=key)["Body"].read() == (whole / path).read_bytes(), path
