"""`tfopt ship`: a saved result as a folder for an app."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from absl import flags

from tfopt.errors import SettingError
from tfopt.flags import define_output, one_argument, output_from_flags

if TYPE_CHECKING:
    from tfopt.shipping.plan import Normalization

SUMMARY = "Writes a saved result as a folder for an app: file, code, labels."
ARGUMENTS = "DIRECTORY"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_string("for", None, "android, ios, micro, python or flutter", flag_values=values)
    define_output(values, "folder to write")
    flags.DEFINE_list(
        "mean", None, "of the pixels, 0 to 255, if the result does not know", flag_values=values
    )
    flags.DEFINE_list("std", None, "likewise; one number, or one a channel", flag_values=values)
    flags.DEFINE_string("labels", None, "file with a class name in each line", flag_values=values)
    flags.DEFINE_string(
        "samples", None, ".npy or .npz with inputs for the examples", flag_values=values
    )


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Writes the folder."""
    from tfopt.shipping import Platform, ship

    directory = one_argument(arguments, ARGUMENTS)
    platform = values["for"].value
    if platform is None:
        raise SettingError(
            received="no --for",
            expected=f"one of {', '.join(get_args(Platform))}",
            fix="say where the app runs, such as --for=android",
        )
    folder = ship(
        directory,
        platform=platform,
        output=output_from_flags(values),
        normalization=_normalization(values),
        class_names=_lines(values.labels),
        samples=_arrays(values.samples),
        overwrite=values.overwrite,
    )
    names = sorted(path.name for path in folder.iterdir())
    print(f"Wrote {folder}: {', '.join(names)}")
    return 0


def _normalization(values: flags.FlagValues) -> Normalization | None:
    """Mean and std, if they are given."""
    if values.mean is None and values.std is None:
        return None
    if not values.mean or not values.std:
        raise SettingError(
            received=f"--mean={values.mean} --std={values.std}",
            expected="both, or none of them",
            fix="give both in pixels, 0 to 255: --mean=127.5 --std=127.5",
        )
    try:
        mean, std = (tuple(map(float, one)) for one in (values.mean, values.std))
    except ValueError as error:
        raise SettingError(
            received=f"--mean={values.mean} --std={values.std}",
            expected="numbers",
            fix="give one number, or one for each channel: --mean=124,116,104",
        ) from error
    return mean, std


def _lines(path: str | None) -> list[str] | None:
    if path is None:
        return None
    try:
        return _read(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SettingError(
            received=f"{path!r}, which is not in UTF-8 ({error.reason} at byte {error.start})",
            expected="a text file in UTF-8 with a class name in each line",
            fix="save it in UTF-8",
        ) from error


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingError(
            received=f"{path!r}, which cannot be read ({error.strerror})",
            expected="a file",
            fix="check the path",
        ) from error


def _arrays(path: str | None) -> Any:
    """The array of a .npy file, or those of a .npz by their names."""
    if path is None:
        return None
    import io

    import numpy as np

    try:
        loaded = np.load(io.BytesIO(_read(path)))
    except ValueError as error:
        raise SettingError(
            received=f"{path!r}, which holds no arrays ({error})",
            expected="a .npy or .npz file",
            fix="write it with np.save(path, inputs)",
        ) from error
    return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
