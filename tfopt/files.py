"""Files written whole or not at all, under a temporary name first; and what files hold."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfopt.errors import OutputError, OutputExistsError, TfoptError

# mkstemp and mkdtemp make private files; a result should have the permissions of any other. The
# mask can only be read by setting it, for all threads: once, and to one that opens nothing.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


def write_file(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Writes a file, replacing an older one: after a crash there is the old or the new one, whole.

    Args:
        path: Where; missing folders are made.
        content: Text is written as UTF-8.

    Raises:
        OutputError: It cannot be written.

    Example:
        >>> path = Path(tempfile.mkdtemp()) / "new" / "model.tflite"
        >>> write_file(path, b"TFL3")
        >>> path.read_bytes()
        b'TFL3'
    """
    path = Path(path)
    with _named(path):
        _write(path, content)


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_UMASK)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def refuse_existing(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuses an output path that holds something or cannot be written: call it before long work.

    Args:
        path: A file, or a directory; an empty directory is free.
        overwrite: Accept an existing one.

    Raises:
        OutputExistsError: It is there, and `overwrite` is false.
        OutputError: The nearest folder above it that exists is none, or cannot be written.

    Example:
        >>> refuse_existing(Path(tempfile.mkdtemp()) / "result")
    """
    path = Path(path)
    with _named(path):
        if not overwrite and path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise OutputExistsError(
                received=f"the output {os.fspath(path)!r}, which exists",
                expected="a path that holds nothing yet",
                fix="choose another one, or overwrite it with overwrite=True (--overwrite)",
            )
        parents = path.absolute().parents
        folder = next(parent for parent in parents if os.path.lexists(parent))
        # The only sure way to know: permissions say nothing of /proc or of a read-only disk.
        os.rmdir(tempfile.mkdtemp(dir=folder, prefix=".tfopt."))


def checksum(path: str | os.PathLike[str]) -> str:
    """Returns a SHA-256 over what a file holds, or a directory with all that is in it.

    Args:
        path: Where; what is not there has a checksum, too.

    Example:
        >>> path = Path(tempfile.mkdtemp()) / "model.h5"
        >>> write_file(path, b"weights")
        >>> checksum(path)[:8]
        '9a129038'
    """
    path = Path(path)
    if not path.is_dir():
        return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()
    whole = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        whole.update(f"{file.relative_to(path).as_posix()} {checksum(file)}\n".encode())
    return whole.hexdigest()


@contextlib.contextmanager
def write_directory(
    directory: str | os.PathLike[str], *, overwrite: bool = False
) -> Iterator[Path]:
    """Yields an empty directory to fill; it becomes `directory` when the block ends without error.

    Args:
        directory: Where the results are to be.
        overwrite: Replace an earlier result. Files that the new result does not hold are never
            deleted: the directory is refused instead.

    Raises:
        OutputExistsError: There is something, and `overwrite` is false or would lose other files.
        OutputError: It cannot be written.

    Example:
        >>> goal = Path(tempfile.mkdtemp()) / "result"
        >>> with write_directory(goal) as folder:
        ...     _ = (folder / "report.md").write_text("# Report")
        >>> os.listdir(goal)
        ['report.md']
    """
    with _named(directory), _staged(Path(directory).resolve(), overwrite) as staged:
        yield staged


@contextlib.contextmanager
def _staged(goal: Path, overwrite: bool) -> Iterator[Path]:
    refuse_existing(goal, overwrite=overwrite)
    goal.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=goal.parent, prefix=f".{goal.name}."))
    try:
        yield staged
        refuse_existing(goal, overwrite=overwrite)
        _refuse_other_files(goal, staged)
        for path in staged.rglob("*"):
            _sync(path)
        staged.chmod(0o777 & ~_UMASK)
        _swap(staged, goal)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    _sync(goal.parent)


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of the system name the path the user gave, not a temporary one."""
    try:
        yield
    except TfoptError:
        raise
    except OSError as error:
        raise OutputError(
            received=f"the output {os.fspath(path)!r}, which cannot be written "
            f"({error.strerror or error})",
            expected="a path in a folder that can be written",
            fix="choose another path, or make room and allow writing there",
        ) from error


def _refuse_other_files(goal: Path, staged: Path) -> None:
    if goal.exists() and not goal.is_dir():
        raise OutputExistsError(
            received=f"the output {os.fspath(goal)!r}, which is a file",
            expected="a directory",
            fix="choose another path",
        )
    others = sorted(_files(goal) - _files(staged))
    if others:
        raise OutputExistsError(
            received=f"the output {os.fspath(goal)!r}, which holds other files: "
            + ", ".join(others[:5]),
            expected="a directory holding nothing but an earlier result",
            fix="choose another directory, or move those files away",
        )


def _files(directory: Path) -> set[str]:
    """The paths in a directory and its folders of all that is no folder."""
    return {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def _swap(staged: Path, goal: Path) -> None:
    if not goal.exists():
        staged.rename(goal)
        return
    old = Path(tempfile.mkdtemp(dir=goal.parent, prefix=f".{goal.name}.old."))
    try:
        goal.rename(old / goal.name)
        staged.rename(goal)
    except BaseException:
        if not goal.exists():
            (old / goal.name).rename(goal)
        raise
    finally:
        if goal.exists():
            shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # a directory cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
