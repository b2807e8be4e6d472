"""YAML as every tool here reads it: YAML 1.2's numbers and booleans, so that 1e-5 is a number and `no` a word."""

import re
from pathlib import Path
from typing import Any

import yaml

from advgrad.errors import InputError

_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's: dvc.lock takes the other one seconds


class _Loader(_FAST):  # pyright: ignore[reportGeneralTypeIssues]
    pass


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in pairs if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def parse_yaml(text: str, name: str) -> Any:
    """The content; InputError naming where it came from if it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        raise InputError(f"{name}{line}: not YAML: {getattr(error, 'problem', error)}") from None


def load_yaml(file: Path) -> Any:
    """The file's content; InputError if it is missing or not YAML."""
    try:
        return parse_yaml(file.read_text(encoding="utf-8"), str(file))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None


def merge(base: Any, over: Any) -> Any:
    """over laid on base: dictionaries key by key, anything else replaced."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: merge(base[key], value) if key in base else value for key, value in over.items()}}
