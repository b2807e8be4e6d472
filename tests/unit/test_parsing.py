"""What DVC writes in our commands is whole or as it was."""

from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml, modify_yaml

from advgrad.parsing import quick_yaml


class NotWritten:
    """No YAML has this: ruamel fails in the middle of the file."""


def test_dvc_writes_its_lock_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text("schema: '2.0'\n")
    with quick_yaml():
        with modify_yaml(str(path)) as content:
            content["stages"] = {"a": 1}
        written = path.read_text()
        with pytest.raises(Exception, match="NotWritten"), modify_yaml(str(path)) as content:
            content["stages"] = {"a": 2, "b": NotWritten()}
    assert load_yaml(str(path)) == {"schema": "2.0", "stages": {"a": 1}}
    assert path.read_text() == written
    assert list(tmp_path.iterdir()) == [path]
