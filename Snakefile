# The stale stages of dvc.yaml as rules. `make repro` runs them and has DVC record what was made;
# by hand: `snakemake --cores 2`, then `advgrad repro`. `snakemake -n` shows what is stale.
from advgrad.run import planned

RULES = planned(main=workflow.is_main_process)

if RULES:
    rule all:
        input: [stage["done"] for stage in RULES]
        default_target: True
        localrule: True


for stage in RULES:
    rule:
        name: stage["name"]
        input: stage["after"]
        output: stage["done"]
        log: stage["log"]
        params: cmd=stage["cmd"], stage=stage["stage"]
        threads: stage["threads"]
        priority: stage.get("priority", 0)
        resources:
            gpu=0 if stage["local"] else config.get("gpu", stage["gpu"]),
            mem_mb=lambda wildcards, attempt: 8192 * attempt,
            runtime=lambda wildcards, attempt, minutes=stage["minutes"]: minutes * 2 ** (attempt - 1),
        localrule: stage["local"]
        shell: """
            export DVC_STAGE={params.stage}
            if ({params.cmd}) > {log} 2>&1; then touch {output}
            else echo "{params.stage} failed; {log} ends with:" >&2; tail -n 20 {log} >&2; exit 1; fi
            """
