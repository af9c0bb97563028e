import os
import stat

import pytest

from tfopt.errors import OutputError, OutputExistsError
from tfopt.files import refuse_existing, write_directory, write_file


def test_a_file_is_written_and_replaced_whole(tmp_path):
    path = tmp_path / "new" / "model.tflite"
    write_file(path, b"first")
    write_file(path, "später")
    assert path.read_bytes() == "später".encode()
    assert os.listdir(path.parent) == ["model.tflite"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444


def test_a_failed_file_leaves_the_old_one_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    write_file(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_a_directory_appears_at_the_end(tmp_path):
    goal = tmp_path / "out" / "result"
    with write_directory(goal) as folder:
        (folder / "a").write_text("1")
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text("2")
        assert not goal.exists()
    assert (goal / "sub" / "b").read_text() == "2"
    assert os.listdir(goal.parent) == ["result"]
    assert stat.S_IMODE(goal.stat().st_mode) & 0o555 == 0o555


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_directory_is_written_whole_or_not_at_all(tmp_path, error):
    goal = tmp_path / "result"
    with pytest.raises(error), write_directory(goal) as folder:
        (folder / "a").write_text("1")
        raise error
    assert os.listdir(tmp_path) == []

    with write_directory(goal) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(error), write_directory(goal, overwrite=True) as folder:
        (folder / "a").write_text("new")
        raise error
    assert (goal / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["result"]


def test_an_earlier_result_is_kept_unless_told(tmp_path):
    goal = tmp_path / "result"
    for _ in range(2):
        with write_directory(goal, overwrite=True) as folder:
            (folder / "a").write_text("1")
    expected = r"result', which exists; expected .* Fix: .*overwrite=True \(--overwrite\)"
    with pytest.raises(OutputExistsError, match=expected), write_directory(goal):
        raise AssertionError("never gets here")
    assert (goal / "a").read_text() == "1"


def test_an_empty_directory_is_free(tmp_path):
    goal = tmp_path / "result"
    goal.mkdir()
    refuse_existing(goal)
    with write_directory(goal) as folder:
        (folder / "a").write_text("1")
    assert (goal / "a").read_text() == "1"


def test_overwriting_never_deletes_other_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    expected = r"which holds other files: thesis\.tex; .* move those files away"
    with (
        pytest.raises(OutputExistsError, match=expected),
        write_directory(tmp_path, overwrite=True) as folder,
    ):
        (folder / "a").write_text("1")
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_overwriting_never_deletes_other_files_in_folders_of_the_result(tmp_path):
    goal = tmp_path / "app"
    with write_directory(goal) as folder:
        (folder / "examples").mkdir()
        (folder / "examples" / "a.png").write_text("1")
    (goal / "examples" / "mine.txt").write_text("years of work")
    (goal / "examples" / "link").symlink_to(tmp_path)
    expected = r"which holds other files: examples/link, examples/mine\.txt; .* move those"
    with (
        pytest.raises(OutputExistsError, match=expected),
        write_directory(goal, overwrite=True) as folder,
    ):
        (folder / "examples").mkdir()
        (folder / "examples" / "a.png").write_text("2")
    assert (goal / "examples" / "mine.txt").read_text() == "years of work"
    assert (goal / "examples" / "a.png").read_text() == "1"
    assert os.listdir(tmp_path) == ["app"]


def test_a_folder_where_the_new_result_has_a_file_is_not_deleted(tmp_path):
    goal = tmp_path / "app"
    (goal / "labels").mkdir(parents=True)
    (goal / "labels" / "mine.txt").write_text("years of work")
    with (
        pytest.raises(OutputExistsError, match=r"other files: labels/mine\.txt"),
        write_directory(goal, overwrite=True) as folder,
    ):
        (folder / "labels").write_text("1")
    assert (goal / "labels" / "mine.txt").read_text() == "years of work"


def test_a_file_in_the_way_is_refused(tmp_path):
    goal = tmp_path / "result"
    goal.write_text("a file")
    with pytest.raises(OutputExistsError, match="which exists"):
        refuse_existing(goal)
    with (
        pytest.raises(OutputExistsError, match=r"which is a file; expected a directory"),
        write_directory(goal, overwrite=True),
    ):
        pass
    assert goal.read_text() == "a file"


def test_a_swap_that_fails_puts_the_old_result_back(tmp_path, monkeypatch):
    goal = tmp_path / "result"
    with write_directory(goal) as folder:
        (folder / "a").write_text("old")
    rename = type(goal).rename

    def fail_on_staged(self, target):
        if self.name.startswith(".result.") and ".old." not in self.name:
            raise OSError("network drive gone")
        return rename(self, target)

    monkeypatch.setattr(type(goal), "rename", fail_on_staged)
    with (
        pytest.raises(OSError, match="network drive gone"),
        write_directory(goal, overwrite=True) as folder,
    ):
        (folder / "a").write_text("new")
    assert (goal / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["result"]


def test_a_result_that_cannot_be_moved_away_stays_alone(tmp_path, monkeypatch):
    goal = tmp_path / "result"
    _save(goal)

    def fail(*_):
        raise PermissionError("in use")

    monkeypatch.setattr(type(goal), "rename", fail)
    with (
        pytest.raises(OutputError, match="in use"),
        write_directory(goal, overwrite=True) as folder,
    ):
        (folder / "a").write_text("new")
    assert (goal / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["result"]


def test_the_umask_of_the_process_is_never_touched(tmp_path, monkeypatch):
    mask = os.umask(0)
    os.umask(mask)
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("other threads write files, too"))
    write_file(tmp_path / "model.tflite", b"1")
    _save(tmp_path / "result")
    assert stat.S_IMODE((tmp_path / "model.tflite").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == 0o777 & ~mask


def _save(path):
    with write_directory(path) as folder:
        (folder / "a").write_text("1")


@pytest.mark.parametrize("act", [refuse_existing, _save, lambda path: write_file(path, b"1")])
def test_where_nothing_can_be_written_the_users_path_is_named(tmp_path, act):
    (tmp_path / "afile").write_text("a file")
    for path in ("/proc/zzz", f"{tmp_path}/afile/x", f"{tmp_path}/afile/x/y"):
        expected = f"Received the output '{path}', which cannot be written .*Fix: choose another"
        with pytest.raises(OutputError, match=expected):
            act(path)
    assert os.listdir(tmp_path) == ["afile"]


def test_looking_leaves_nothing_behind(tmp_path):
    refuse_existing(tmp_path / "new" / "result")
    assert os.listdir(tmp_path) == []
