import numpy as np
import pytest
from absl import flags

from tfopt import flags as shared
from tfopt.errors import DataError, SettingError
from tfopt.target import Target


def parse(*arguments, dataset=None):
    values = flags.FlagValues()
    shared.define_data(values, dataset=dataset)
    shared.define_metric(values)
    shared.define_training(values)
    shared.define_target(values)
    shared.define_budgets(values)
    shared.define_output(values, "directory of the result")
    values(["tfopt", *arguments])
    return values


def test_the_digits_need_no_more_than_their_name():
    task = shared.task_from_flags(
        parse("--dataset=digits", "--seed=3", "--batch_size=8", "--metric=top_5_accuracy")
    )
    assert (task.seed, task.batch_size, task.metric) == (3, 8, "top_5_accuracy")
    assert task.source["kind"] == "digits"


def test_a_strategy_is_the_tasks(monkeypatch):
    from tfopt.training import strategies

    begun = []
    monkeypatch.setattr(strategies, "begin", begun.append)
    task = shared.task_from_flags(parse("--dataset=digits", "--strategy=mirrored"))
    assert task.strategy == task.source["strategy"] == "mirrored"
    assert begun == ["mirrored"]
    assert shared.task_from_flags(parse("--dataset=digits")).strategy is None


def test_flags_that_are_not_defined_are_left_at_their_defaults():
    values = flags.FlagValues()
    shared.define_data(values, dataset="digits")
    values(["tfopt"])
    assert shared.task_from_flags(values).batch_size == 32


def test_a_folder_of_images_is_a_path_or_a_name_that_is_no_data_sets(tmp_path, monkeypatch):
    import tensorflow as tf

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(10):
            image = tf.io.encode_png(np.full((3, 3, 1), index, np.uint8))
            (tmp_path / name / f"{index}.png").write_bytes(image.numpy())
    named = f"--dataset={tmp_path}"
    task = shared.task_from_flags(parse(named, "--image_size=4x5", "--channels=1"))
    assert task.train.x.shape[1:] == (4, 5, 1)
    assert shared.task_from_flags(parse(named, "--image_size=4")).train.x.shape[1:] == (4, 4, 3)
    with pytest.raises(SettingError, match=r"without --image_size; .*--image_size=96"):
        shared.task_from_flags(parse(named))
    monkeypatch.chdir(tmp_path.parent)
    named = f"--dataset={tmp_path.name}"
    assert shared.task_from_flags(parse(named, "--image_size=4")).train.x.shape[1:] == (4, 4, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([], SettingError, "no --dataset; .*--dataset=digits, a TFDS name such as mnist"),
        (["--dataset=digits", "--image_size=8"], SettingError, "no --image_size for the embedded"),
        (["--dataset=digits", "--data_dir=d"], SettingError, "no --data_dir for the embedded"),
        (
            ["--dataset=./images", "--image_size=8", "--data_dir=d"],
            SettingError,
            "--data_dir=d with --dataset=./images; expected no --data_dir for a folder of images",
        ),
        (["--dataset=mnist", "--channels=3"], SettingError, "no --channels for a TFDS set"),
        (["--dataset=mnist", "--image_size=8x8x3"], SettingError, "--image_size=8x8x3; expected a"),
        (["--dataset=mnist", "--image_size=0"], SettingError, "--image_size=0; expected a number"),
        (["--dataset=./nowhere", "--image_size=8"], DataError, r"'\./nowhere', which is no direc"),
        (["--dataset=mnitz"], DataError, "such as .*mnist"),
        (
            ["--dataset=digits", "--from_logits", "--loss=mean_squared_error"],
            SettingError,
            "--from_logits with --loss=mean_squared_error; expected a cross-entropy",
        ),
    ],
)
def test_data_flags_that_cannot_be_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        shared.task_from_flags(parse(*arguments))


def test_logits_get_a_loss_of_logits():
    task = shared.task_from_flags(parse("--dataset=digits", "--from_logits"))
    assert task.loss.get_config()["from_logits"]
    assert task.source["loss"]["class_name"] == "SparseCategoricalCrossentropy"


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        ([], Target.int8()),
        (["--numerics=float16"], Target.float16()),
        (["--input_type=uint8", "--max_bytes=9"], Target.int8(input_type="uint8", max_bytes=9)),
        (
            ["--numerics=int16x8", "--allow_float_ops", "--representative_samples=7"],
            Target.int16x8(allow_float_ops=True, representative_samples=7),
        ),
        (
            ["--max_accuracy_drop=0.01", "--max_latency_ms=2"],
            Target.int8(max_accuracy_drop=0.01, max_latency_ms=2),
        ),
        (["--numerics=dynamic_range"], Target.dynamic_range()),
        (
            ["--numerics=float16", "--exporter=litert"],
            Target.float16(exporter="litert"),
        ),
        (
            ["--numerics=int4_weights", "--keep_int8=stem,dense", "--keep_int16=head"],
            Target.int4_weights(keep_int8=("stem", "dense"), keep_int16=("head",)),
        ),
        (
            ["--calibration=mse", "--representative_choice=balanced", "--keep_float=a"],
            Target.int8(calibration="mse", representative_choice="balanced", keep_float=("a",)),
        ),
    ],
)
def test_targets_are_built(arguments, target):
    assert shared.target_from_flags(parse(*arguments)) == target


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--numerics=int4"], "numerics='int4'; expected .*int8"),
        (["--numerics=float32", "--input_type=int8"], "input_type='int8' with numerics='float32'"),
        (["--max_bytes=-1"], "max_bytes=-1"),
        (["--exporter=litart"], "exporter='litart'; expected 'litert' is nearest"),
        (["--keep_int8=stem"], r"keep_int8=\('stem',\) with numerics='int8'"),
    ],
)
def test_targets_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(SettingError, match=message):
        shared.target_from_flags(parse(*arguments))


def test_the_output_must_be_named():
    assert shared.output_from_flags(parse("--output=out/x")) == "out/x"
    with pytest.raises(SettingError, match="no --output; expected --output: directory of the res"):
        shared.output_from_flags(parse())


def test_scripts_get_them_on_absls_own_flags():
    for name in ("dataset", "seed", "numerics", "max_bytes", "output", "overwrite"):
        assert name in flags.FLAGS
    assert flags.FLAGS["dataset"].default == "digits"
