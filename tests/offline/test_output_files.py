"""A file that a job will write is refused before the work where it cannot be written, and left as it is else."""

from pathlib import Path

import pytest

from offline.errors import BadInputError
from offline.output_files import require_writable


def test_nothing_is_left_and_nothing_changed(tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text("kept")
    (tmp_path / "link.json").symlink_to("there.json")
    for name in ("there.json", "link.json", "new.json", "deep/down/new.json"):
        require_writable(tmp_path / name, "--json", "a JSON file")
    assert (tmp_path / "there.json").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "down", "link.json", "there.json"]


@pytest.mark.parametrize(
    ("name", "why"),
    [("folder", "it is a folder"), ("file/x.json", "Not a directory|File exists"), ("/dev/null", "it is not a file")],
)
def test_what_cannot_be_written(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(
        BadInputError, match=rf"^--json .*{name} cannot be written \(.*({why}).*; give the path of a JS"
    ):
        require_writable(tmp_path / name, "--json", "a JSON file")


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(BadInputError, match=r"--json .* cannot be written"):
        require_writable(tmp_path / "a", "--json", "a JSON file")
