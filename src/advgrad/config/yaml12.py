"""YAML as every tool here reads it: YAML 1.2's numbers and booleans, so that 1e-5 is a number and `no` a word."""

import re
from pathlib import Path
from typing import Any

import yaml

from advgrad.errors import InputError
from advgrad.files import read_text

_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's: dvc.lock takes the other one seconds


class _Loader(_FAST):  # pyright: ignore[reportGeneralTypeIssues]
    depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Refuse what is nested so deep that libyaml's recursion would end the process."""
        self.depth += 1
        if self.depth > 100:
            raise yaml.MarkedYAMLError(problem="nested too deep")

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def flatten_mapping(self, node: Any) -> None:
        """Refuse a key that is there twice, as DVC does; what `<<` merges may be there again."""
        if not hasattr(node, "own"):  # an anchor's is flattened at each use
            node.own = [key.value for key, _ in node.value if isinstance(key.value, str)]
            if twice := next((key for place, key in enumerate(node.own) if key in node.own[:place]), None):
                raise yaml.MarkedYAMLError(problem=f"key {twice!r} is there twice", problem_mark=node.start_mark)
        super().flatten_mapping(node)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in pairs if tag.rpartition(":")[2] not in ("float", "bool", "int")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^([tT]rue|TRUE|[fF]alse|FALSE)$"), list("tTfF"))


def parse_yaml(text: str, name: str) -> Any:
    """The content; InputError naming where it came from if it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:  # the latter of `2001-02-30`, `!!bool x`
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        raise InputError(f"{name}{line}: not YAML: {getattr(error, 'problem', error)}") from None


def load_yaml(file: Path) -> Any:
    """The file's content; InputError if it is missing or not YAML."""
    return parse_yaml(read_text(file), str(file))


def merge(base: Any, over: Any) -> Any:
    """over laid on base: dictionaries key by key, anything else replaced."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: merge(base[key], value) if key in base else value for key, value in over.items()}}
