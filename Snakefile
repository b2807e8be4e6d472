# DVC's resolved stages as rules: nothing is defined here. `dvc commit -f` records what Snakemake ran.
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

STAGES = Repo(".").index.stages
OUTPUTS = sorted(out.def_path for stage in STAGES for out in stage.outs)


def inputs(stage):
    """Files and folders that the stage reads; a folder that stages fill stands for what they put there."""
    paths = [dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)]
    made = {path: [out for out in OUTPUTS if out.startswith(f"{path}/")] for path in paths}
    return [file for path in paths for file in made[path] or [path]]


def values(stage):
    """Resolved parameter values: a changed one runs the rule again."""
    tracked = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    return {f"{dep.def_path}:{name}": str(value) for dep in tracked for name, value in dep.read_params().items()}


rule all:
    input: OUTPUTS


for stage in STAGES:
    rule:
        name: stage.addressing.replace("@", "__").replace("-", "_")
        input: inputs(stage)
        output: [out.def_path for out in stage.outs]
        params: cmd=stage.cmd, stage=stage.addressing, values=values(stage)
        threads: 2
        shell: "DVC_STAGE={params.stage} {params.cmd}"
