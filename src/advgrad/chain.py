"""Several stages in one process, one after the other: `python -m advgrad.chain NAME`, a rule of the plan.

They load torch and MLflow once, which would take each of them longer than many of them work. A model's stages are
together, and models whose stages take a minute or so in all.
"""

import json
import os
import re
import runpy
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

PLAN = Path(".advgrad/plan.json")
SHORT = 90  # seconds
Rule = dict[str, Any]


def joined(rules: list[Rule], seconds: Mapping[str, float]) -> list[Rule]:
    """The rules, in the DAG's order, with those in one that would run after each other anyway: work for a queue that
    needs stages of one such rule only, and what that rule waits for. seconds: what stages took before; the longest rule
    begins first."""
    chains, chain_of = list[list[Rule]](), dict[str, list[Rule]]()
    for rule in rules:
        chain = next((c for stamp in rule["after"] if fits(rule, c := chain_of[stamp])), [])
        if not chain:
            chains.append(chain)
        chain.append(rule)
        chain_of[rule["done"]] = chain
    chains = packed(chains, seconds)
    chain_of = {rule["done"]: chain for chain in chains for rule in chain}
    done = {stamp: f"{chain[0]['done']}.chain" if chain[1:] else stamp for stamp, chain in chain_of.items()}
    return [
        chain[0]
        | (chained(chain) if chain[1:] else {})
        | {"after": sorted({done[stamp] for stamp in chain[0]["after"]})}
        | {"priority": round(sum(seconds.get(rule["stage"], 0.0) for rule in chain))}
        for chain in chains
    ]


def packed(chains: list[list[Rule]], seconds: Mapping[str, float]) -> list[list[Rule]]:
    """The chains, with short ones in one that wait for the same."""
    packs, last = list[list[Rule]](), dict[tuple[str, ...], tuple[list[Rule], float]]()
    for chain in chains:
        took = inf if chain[0]["local"] else sum(seconds.get(rule["stage"], inf) for rule in chain)
        pack, before = last.get(key := tuple(sorted(chain[0]["after"])), ([], inf))
        if before + took > SHORT:
            packs.append(pack := [])
            before = 0.0
        pack += chain
        last[key] = pack, before + took
    return packs


def fits(rule: Rule, chain: list[Rule]) -> bool:
    waited = {*chain[0]["after"], *(member["done"] for member in chain)}
    return not rule["local"] and not chain[0]["local"] and waited.issuperset(rule["after"])


def chained(chain: list[Rule]) -> Rule:
    """What is different where a rule is of several stages."""
    first, *others = chain
    return {
        "members": chain, "stage": f"{first['stage']}+{len(others)}", "done": f"{first['done']}.chain",
        "cmd": f"{sys.executable} -m advgrad.chain {first['name']}", "log": first["log"].replace(".log", ".chain.log"),
        "minutes": sum(member["minutes"] for member in chain),
    }  # fmt: skip


def run(rule: Rule) -> int:
    """The exit status: 0, or that of the first stage that failed. What needs it is left out; after a signal, all is."""
    failed, first = set[str](), 0
    for member in rule["members"]:
        log, done = Path(member["log"]), Path(member["done"])
        if failed.intersection(member["after"]):
            failed.add(member["done"])
        elif not done.exists():  # it is there at a second attempt
            with into(log):
                status = stage(member)
            if status == 0:
                done.touch()
                continue
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-19:]  # what the Snakefile shows
            sys.stderr.write("\n".join([f"{member['stage']} failed; {log} ends with:", *tail, ""]))
            failed.add(member["done"])
            first = first or status
            if status >= 128:
                break
    return first


def stage(member: Rule) -> int:
    """The exit status of a stage: a script of stages/ here, any other command by the shell."""
    os.environ["DVC_STAGE"] = member["stage"]
    remove, _, command = member["cmd"].partition("; ")
    subprocess.run(remove, shell=True, check=True)  # noqa: S602
    script = re.fullmatch(r"stages/run (\w+)(?: (\S+))?", command)
    if script is None:
        return subprocess.run(command, shell=True, check=False).returncode % 256  # noqa: S602
    sys.argv = [word for word in script.groups() if word]
    try:
        runpy.run_path(f"stages/{sys.argv[0]}.py", run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):  # as Python does
            sys.stderr.write(f"{end.code}\n")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def into(log: Path) -> Iterator[None]:
    """Inside, what this process and those that it starts write goes to the file."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    before = [os.dup(number) for number in (1, 2)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, number)
            os.close(kept)


if __name__ == "__main__":
    sys.exit(run(next(rule for rule in json.loads(PLAN.read_text(encoding="utf-8")) if rule["name"] == sys.argv[1])))
