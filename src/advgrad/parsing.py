"""DVC's YAML, read with libyaml and once: most of its idle seconds go there. And what DVC says, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advgrad.config import parse_yaml
from advgrad.errors import InputError


@contextmanager
def quick_yaml() -> Iterator[None]:
    """Inside, DVC parses dvc.lock with libyaml, and a parameter file once, not anew for each stage that uses it."""
    from dvc.dependency import param
    from dvc.utils import strictyaml

    load, parse, seen = param.load_path, strictyaml.parse_yaml, {}

    def load_once(path: str, fs: Any, **options: Any) -> Any:
        key = path, Path(path).stat().st_mtime_ns
        if key not in seen:
            seen[key] = load(path, fs, **options)
        return seen[key]

    def parse_fast(text: str, path: str, typ: str = "safe") -> Any:
        try:
            return parse_yaml(text, path) or {} if typ == "safe" else parse(text, path, typ)
        except InputError:
            return parse(text, path, typ)  # says what is wrong in DVC's own way

    param.load_path, strictyaml.parse_yaml = load_once, parse_fast
    try:
        yield
    finally:
        param.load_path, strictyaml.parse_yaml = load, parse


@contextmanager
def one_line() -> Iterator[None]:
    """Inside, what DVC finds wrong (dvc.yaml, dvc.lock, a lock that another command holds) is an InputError."""
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        raise InputError(f"DVC: {str(error).splitlines()[0]}") from error
