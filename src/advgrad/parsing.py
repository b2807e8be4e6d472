"""DVC's YAML, read with libyaml and once: most of its idle seconds go there. And what DVC says, in one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from advgrad.config import parse_yaml
from advgrad.errors import InputError
from advgrad.files import write_text


@contextmanager
def quick_yaml() -> Iterator[None]:
    """Inside, DVC parses dvc.lock with libyaml and writes it whole, and parses a parameter file once, not per stage."""
    from dvc.dependency import param
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _common

    load, parse, dump, seen = param.load_path, strictyaml.parse_yaml, _common._dump_data, {}

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

    def dump_whole(path: str, data: Any, dumper: Callable[[Any, StringIO], None], **_: Any) -> None:
        dumper(data, text := StringIO())
        write_text(Path(path), text.getvalue())

    param.load_path, strictyaml.parse_yaml, _common._dump_data = load_once, parse_fast, dump_whole
    try:
        yield
    finally:
        param.load_path, strictyaml.parse_yaml, _common._dump_data = load, parse, dump


@contextmanager
def one_line() -> Iterator[None]:
    """Inside, what DVC finds wrong (dvc.yaml, dvc.lock, a lock that another command holds) is an InputError."""
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        raise InputError(f"DVC: {str(error).splitlines()[0]}") from error
