"""DVC's YAML, read with libyaml and once, parameters looked up key by key: where most of its idle seconds go.

And what DVC says, in one line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advgrad.config import parse_yaml
from advgrad.errors import InputError


@contextmanager
def quick_yaml() -> Iterator[None]:
    """Inside, DVC parses dvc.lock with libyaml, and a parameter file once, not anew for each stage that uses it.

    Nor does it walk through the whole file for each parameter.
    """
    from dvc.dependency import param
    from dvc.utils import strictyaml

    load, parse, read, seen = param.load_path, strictyaml.parse_yaml, param.read_param_file, {}

    def load_once(path: str, fs: Any, **options: Any) -> Any:
        key = path, Path(path).stat().st_mtime_ns
        if key not in seen:
            seen[key] = load(path, fs, **options)
        return seen[key]

    def read_fast(fs: Any, path: str, key_paths: Any = None, flatten: bool = False, **options: Any) -> Any:
        if not key_paths or not flatten or any(set("*?[]") & set(key) for key in key_paths):
            return read(fs, path, key_paths, flatten, **options)
        values = {key: look_up(load_once(path, fs, **options), key) for key in key_paths}
        return {key: value for key, value in values.items() if value is not ABSENT}

    def parse_fast(text: str, path: str, typ: str = "safe") -> Any:
        try:
            return parse_yaml(text, path) or {} if typ == "safe" else parse(text, path, typ)
        except InputError:
            return parse(text, path, typ)  # says what is wrong in DVC's own way

    param.load_path, strictyaml.parse_yaml, param.read_param_file = load_once, parse_fast, read_fast
    try:
        yield
    finally:
        param.load_path, strictyaml.parse_yaml, param.read_param_file = load, parse, read


@contextmanager
def one_line() -> Iterator[None]:
    """Inside, what DVC finds wrong (dvc.yaml, dvc.lock, a lock that another command holds) is an InputError."""
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        raise InputError(f"DVC: {str(error).splitlines()[0]}") from error


ABSENT = object()


def look_up(content: Any, key: str) -> Any:
    """What stands under a dotted key; ABSENT if nothing does."""
    for name in key.split("."):
        if not isinstance(content, dict) or name not in content:
            return ABSENT
        content = content[name]
    return content
