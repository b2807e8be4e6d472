# DVC's resolved stages as rules, for many cores or a cluster; nothing is defined here. `dvc commit -f` records what ran.
import os
from pathlib import Path

from advgrad.rulebook import elsewhere, longer, rulebook

PLANS = workflow.is_main_process  # else: runs one of its jobs, perhaps on another machine
SHARED = workflow.storage_settings.default_storage_provider is None  # files lie in this folder, not in a store
RULES = rulebook(Path(), main=PLANS, gpu=config.get("gpu"))
os.environ["ADVGRAD_BESIDE"] = "1"
if not PLANS:
    os.environ["ADVGRAD_SPOOL_ONLY"] = "1"


def inputs(each):
    """What other stages make, and the stage's state. Of a stage that is up to date for DVC, no age counts."""
    files = [*each.inputs, each.state] if PLANS and SHARED else each.inputs
    return [ancient(file) if each.fresh and SHARED else file for file in files]


rule all:
    input: [path for each in RULES for path in each.outputs]
    default_target: True
    localrule: True


for each in RULES:
    rule:
        name: each.name
        input: inputs(each)
        output: [update(path) if path in each.kept else path for path in each.outputs]
        log: [each.log] if SHARED else []
        params: cmd=each.cmd if SHARED else elsewhere(each), stage=each.stage, state="" if SHARED else each.digest
        threads: each.threads
        resources: mem_mb=each.memory, gpu=each.gpus, runtime=longer(each.minutes)
        group: each.group
        localrule: each.local
        shell: "export DVC_STAGE={params.stage}; {params.cmd}" + (" > {log} 2>&1" if SHARED else "")
