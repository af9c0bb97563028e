"""The folder an app's team gets: it is whole, its code is right, its model is the measured one."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tree_sitter
import tree_sitter_cpp
import tree_sitter_dart_orchard
import tree_sitter_kotlin
import tree_sitter_swift
from hostile import DIGITS, HOSTILE

import tfopt
from tfopt.errors import ConversionError, DataError, OutputExistsError, SettingError
from tfopt.keras_gate import tf_keras
from tfopt.shipping import ShippingWarning, ship
from tfopt.testing import small_cnn
from tfopt.tflite import schema
from tfopt.tflite.interpreter import TFLiteModel

PLATFORMS = ("android", "ios", "micro", "python", "flutter")
NAMES = tuple("0123456789")
GRAMMARS = {
    ".kt": tree_sitter_kotlin,
    ".swift": tree_sitter_swift,
    ".dart": tree_sitter_dart_orchard,
    ".cc": tree_sitter_cpp,
    ".h": tree_sitter_cpp,
}


def check_code(folder):
    """Every source file is parsed without an error."""
    sources = [path for path in folder.iterdir() if path.suffix in {*GRAMMARS, ".py"}]
    assert sources
    for path in sources:
        text = path.read_bytes()
        if path.suffix == ".py":
            compile(text, path.name, "exec")
            continue
        grammar = tree_sitter.Language(GRAMMARS[path.suffix].language())
        assert not tree_sitter.Parser(grammar).parse(text).root_node.has_error, text.decode()


def check_examples(folder):
    """The outputs are those of the folder's own file, byte for byte."""
    record = json.loads((folder / "examples" / "examples.json").read_text())
    model = TFLiteModel(folder / "model.tflite", kernels="builtin")
    assert len(record["examples"]) == 3
    for example in record["examples"]:
        given, wanted = (
            {
                port["name"]: np.fromfile(folder / "examples" / file, port["dtype"]).reshape(
                    port["shape"]
                )
                for file, port in zip(example[key], record[key], strict=True)
            }
            for key in ("inputs", "outputs")
        )
        found = model.predict(given if len(given) > 1 else next(iter(given.values())))
        for spec, value in zip(model.outputs, found, strict=True):
            np.testing.assert_array_equal(spec.encode(value), wanted[spec.name])


def check_sums(folder):
    """SHA256SUMS names every other file, and its checksum."""
    sums = dict(
        reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines()
    )
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert sums.keys() == files - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def load(folder):
    """The Python code of a folder as a module."""
    spec = importlib.util.spec_from_file_location("shipped", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_folder_is_whole_and_gives_what_it_says(tmp_path, platform):
    folder = ship(DIGITS, platform=platform, output=tmp_path / "app", class_names=NAMES)
    check_code(folder)
    check_examples(folder)
    check_sums(folder)
    assert (folder / "labels.txt").read_text().split() == list(NAMES)
    readme = (folder / "README.md").read_text()
    claimed = json.loads((DIGITS / "report.json").read_text())["steps"][-1]["test"]["value"]
    assert f"{claimed:.4f} (95 % interval" in readme and "{{" not in readme
    kind = tfopt.inspect(folder / "model.tflite").inputs[0].dtype
    assert kind == ("int8" if platform == "micro" else "uint8")


def test_the_python_code_is_as_accurate_as_the_report_says(tmp_path, digits):
    folder = ship(DIGITS, platform="python", output=tmp_path / "app", class_names=NAMES)
    model = load(folder).Model()
    pixels, labels = np.rint(digits.test.x * 255).astype(np.uint8), digits.test.y
    right = [model.classify(x)[0][0] == str(y) for x, y in zip(pixels, labels, strict=True)]
    report = json.loads((DIGITS / "report.json").read_text())
    assert abs(np.mean(right) - report["steps"][-1]["test"]["value"]) <= 2 / len(labels)
    scores = model.predict(digits.test.x[:1])[0]
    assert digits.class_names[scores.argmax()] == model.classify(pixels[0])[0][0]


def test_the_python_code_checks_its_examples(tmp_path):
    folder = ship(DIGITS, platform="python", output=tmp_path / "app", class_names=NAMES)
    done = subprocess.run(
        [sys.executable, folder / "model.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("is off by") == 3
    assert all(int(line.split()[-4]) <= 7 for line in done.stdout.splitlines())


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_c_arrays_are_the_files_and_aligned(tmp_path):
    with pytest.warns(ShippingWarning, match="would have broken the label file"):
        folder = ship(DIGITS, platform="micro", output=tmp_path / "app", class_names=HOSTILE)
    main = tmp_path / "main.cc"
    main.write_text(
        """
#include <cstdio>
#include <cstring>
#include "examples.h"
#include "model.h"
#include "model_data.h"
int main() {
  std::fwrite(model_data, 1, model_data_size, stdout);
  if (reinterpret_cast<std::uintptr_t>(model_data) % 16 != 0) return 1;
  if (kExampleCount != 3 || sizeof(kExample1Input0) != model::kInputs[0].bytes) return 2;
  std::fwrite(kExampleInputs[2][0], 1, model::kInputs[0].bytes, stdout);
  std::fwrite(kExampleOutputs[2][0], 1, model::kOutputs[0].bytes, stdout);
  if (model::FromPixel(0, 0) != -128 || model::FromPixel(255, 0) != 127) return 3;
  if (model::kLabelCount != 10 || std::strlen(model::kLabels[7]) != 10000) return 4;
  std::fputs(model::kLabels[0], stdout);
  return 0;
}
"""
    )
    program = tmp_path / "main"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{folder}"]
    subprocess.run(["g++", *flags, main, folder / "model_data.cc", "-o", program], check=True)
    told = subprocess.run([program], capture_output=True, check=True).stdout
    example = [
        (folder / "examples" / f"3_{kind}_0.bin").read_bytes() for kind in ("input", "output")
    ]
    assert told == b"".join([(folder / "model.tflite").read_bytes(), *example, HOSTILE[0].encode()])


def test_the_resolver_has_the_ops_of_the_file(tmp_path):
    folder = ship(DIGITS, platform="micro", output=tmp_path / "app", class_names=NAMES)
    code = (folder / "model.cc").read_text()
    ops = {op.name for op in tfopt.inspect(folder / "model.tflite").ops}
    assert ops == {"CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}
    assert "MicroMutableOpResolver<4>" in code
    for method in ("AddConv2D", "AddMean", "AddFullyConnected", "AddSoftmax"):
        assert f"resolver.{method}()" in code


@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_name_breaks_a_label_or_the_code(tmp_path, saved, platform, int8_file):
    model = schema.unpack(int8_file)
    graph = model.subgraphs[0]
    for place, index in enumerate((graph.inputs[0], graph.outputs[0])):
        name = f"{HOSTILE[0]}{HOSTILE[1]}{HOSTILE[3]}{HOSTILE[5]}\n<b>{place}".encode()
        graph.tensors[index].name = name
        for signature in model.signatureDefs or []:
            for entry in (signature.inputs, signature.outputs)[place]:
                entry.name = name
    result = saved(schema.pack(model), name='a "b" *\n$c', class_names=list(HOSTILE))
    with pytest.warns(ShippingWarning, match="would have broken the label file"):
        folder = ship(result, platform=platform, output=tmp_path / "app")
    check_code(folder)
    labels = (folder / "labels.txt").read_text().splitlines()
    assert len(labels) == len(HOSTILE)
    assert labels[4] == "two lines and tabs" and labels[6] == "class 6"
    assert labels[7] == HOSTILE[7] and labels[2] == HOSTILE[2]
    assert "class 6, '', is 'class 6'" in (folder / "README.md").read_text()
    if platform == "python":
        assert load(folder).Model().labels == labels


def test_examples_are_of_the_size_that_the_file_stores(tmp_path, saved):
    image = tf_keras.Input((None, None, 3), name="image")
    x = tf_keras.layers.Conv2D(4, 20)(image)  # nothing is left of 16x16
    inputs = np.random.default_rng(0).random((8, 32, 40, 3), np.float32)
    target = tfopt.Target.int8()
    tflite = tfopt.convert(tf_keras.Model(image, x), target=target, representative=inputs)
    folder = ship(saved(tflite), platform="python", output=tmp_path / "app")
    record = json.loads((folder / "examples" / "examples.json").read_text())
    assert record["inputs"][0]["shape"] == [1, 32, 40, 3]
    assert record["outputs"][0]["shape"] == [1, 13, 21, 4]
    check_examples(folder)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_several_inputs_that_are_no_images(tmp_path, saved, platform, multi_file):
    ranges = {"left": (-2.0, 2.0), "right": (0.0, 9.0)}
    result = saved(multi_file, class_names=None, ranges=ranges)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ShippingWarning)  # several outputs have no labels to miss
        folder = ship(result, platform=platform, output=tmp_path / "app")
    check_code(folder)
    check_examples(folder)
    assert not (folder / "labels.txt").exists()
    if platform == "python":
        outputs = (
            load(folder)
            .Model()
            .predict(
                *({"left": [1, 2, 3], "right": [5, 5, 5]}[name] for name, *_ in load(folder).INPUTS)
            )
        )
        found = {
            name: o.tolist() for (name, *_), o in zip(load(folder).OUTPUTS, outputs, strict=True)
        }
        assert [[-4, -3, -2]] in found.values() and [[2, 4, 6]] in found.values()


def test_a_float_file_that_takes_grey_bytes_is_shipped_without_mediapipe(tmp_path, saved, trained):
    pixels = tfopt.with_preprocessing(trained(small_cnn))
    tflite = tfopt.convert(pixels, target=tfopt.Target.float32())
    result = saved(tflite, class_names=list(NAMES), ranges={"": (0, 255)}, images=True)
    with pytest.warns(ShippingWarning, match="takes grey pixels as plain bytes"):
        folder = ship(result, platform="python", output=tmp_path / "app")
    assert not (folder / "mediapipe.tflite").exists()
    check_examples(folder)


def test_what_the_pixels_mean_has_to_be_known(tmp_path, saved, int8_file):
    strange = saved(int8_file, ranges={"": (-2.1, 2.6)}, class_names=list(NAMES))
    with pytest.warns(ShippingWarning, match="how its pixels were scaled is not known"):
        folder = ship(strange, platform="python", output=tmp_path / "one")
    assert not hasattr(load(folder).Model, "classify")
    given = {"normalization": ((124.0,), (60.0,)), "platform": "python"}
    with pytest.warns(ShippingWarning, match="steps of the measured file's input"):
        folder = ship(strange, output=tmp_path / "two", **given)
    spec = TFLiteModel(folder / "model.tflite").inputs[0]
    assert (spec.scale, spec.zero_point) == (pytest.approx(1 / 60), 124)
    with pytest.raises(SettingError, match="2 numbers for 1 channels"):
        ship(strange, output=tmp_path / "no", **(given | {"normalization": ((1.0, 2.0), 3.0)}))


def test_an_uneven_normalization_stays_in_the_code(tmp_path, saved, int8_file):
    result = saved(int8_file, class_names=list(NAMES))
    with pytest.warns(ShippingWarning, match="tfopt.with_preprocessing puts the normalization"):
        folder = ship(
            result, platform="python", output=tmp_path / "app", normalization=(120.7, 60.3)
        )
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    module = load(folder)
    _, _, _, scale, zero_point = module.INPUTS[0]
    expected = np.clip(np.rint((pixels - 120.7) / 60.3 / scale) + zero_point, 0, 255)
    assert np.abs(module.Model().input(pixels)[0] - expected).max() <= 1


def test_floats_are_normalized_by_mediapipe(tmp_path, saved, float_file):
    result = saved(float_file, class_names=list(NAMES), ranges={"": (0.0, 1.0)}, images=True)
    folder = ship(result, platform="android", output=tmp_path / "app")
    assert tfopt.inspect(folder / "mediapipe.tflite").inputs[0].shape == (-1, 8, 8, 3)
    assert "as the data was loaded" in (folder / "README.md").read_text()


def test_samples_of_ones_own(tmp_path, digits):
    folder = ship(
        DIGITS, platform="python", output=tmp_path / "app", samples=digits.test.x[:3],
        class_names=NAMES,
    )  # fmt: skip
    check_examples(folder)
    shown = np.fromfile(folder / "examples" / "1_input_0.bin", np.uint8)
    np.testing.assert_array_equal(shown, np.rint(digits.test.x[0] * 255).reshape(-1))
    with pytest.raises(DataError, match="shape"):
        ship(DIGITS, platform="python", output=tmp_path / "no", samples=np.zeros((3, 4)))


@pytest.mark.parametrize("name", ["model.tflite", "report.json", "recipe.json"])
def test_a_missing_file_is_named(tmp_path, saved, name, int8_file):
    result = saved(int8_file)
    (result / name).unlink()
    with pytest.raises(SettingError, match=f"without a readable {name}"):
        ship(result, platform="android", output=tmp_path / "app")


@pytest.mark.parametrize("name", ["report.json", "recipe.json"])
@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"steps": 3}'])
def test_a_damaged_file_is_named(tmp_path, saved, name, content, int8_file):
    result = saved(int8_file)
    (result / name).write_text(content)
    with pytest.raises(SettingError, match=name):
        ship(result, platform="android", output=tmp_path / "app")


@pytest.mark.parametrize(
    "usage", [3, {"inputs": 7}, {"inputs": [{"name": "x"}]}, {"class_names": 1}]
)
def test_a_damaged_usage_is_named(tmp_path, saved, usage, int8_file):
    result = saved(int8_file)
    recipe = json.loads((result / "recipe.json").read_text())
    recipe["made_from"]["usage"] = usage
    (result / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(SettingError, match=r"recipe\.json', whose usage is"):
        ship(result, platform="android", output=tmp_path / "app")


def test_an_edited_model_is_refused_by_its_checksum(tmp_path, saved, int8_file, float_file):
    result = saved(int8_file)
    (result / "model.tflite").write_bytes(float_file)
    digests = [hashlib.sha256(content).hexdigest() for content in (float_file, int8_file)]
    with pytest.raises(SettingError, match=f"SHA-256 {digests[0]}; expected {digests[1]}"):
        ship(result, platform="android", output=tmp_path / "app")
    assert not (tmp_path / "app").exists()


def test_a_report_of_another_file_is_refused(tmp_path, saved, int8_file):
    result = saved(int8_file)
    shutil.copy(DIGITS / "report.json", result)
    with pytest.raises(SettingError, match=r"as the last step of report\.json says"):
        ship(result, platform="android", output=tmp_path / "app")


def test_no_name_marks_up_the_readme(tmp_path, saved, int8_file):
    result = saved(int8_file)
    report = json.loads((result / "report.json").read_text()) | {"metric": "<lambda>"}
    (result / "report.json").write_text(json.dumps(report))
    names = ("<b>\nx ![y](http://z)", *"123456789")
    with pytest.warns(ShippingWarning, match="would have broken the label file"):
        folder = ship(result, platform="flutter", output=tmp_path / "app", class_names=names)
    readme = (folder / "README.md").read_text()
    assert "<b>" not in readme and "<lambda>" not in readme and "](" not in readme


def test_bad_settings_name_the_right_ones(tmp_path, saved, int8_file, multi_file):
    with pytest.raises(SettingError, match="'android' is nearest"):
        ship(DIGITS, platform="andriod", output=tmp_path / "app")
    with pytest.raises(SettingError, match="3 class names for outputs of shape"):
        ship(DIGITS, platform="android", output=tmp_path / "app", class_names=("a", "b", "c"))
    with pytest.raises(SettingError, match="leave them out: the inputs are no image"):
        ship(saved(multi_file), platform="ios", output=tmp_path / "app", normalization=(0, 255))
    for given, told in (
        ((0, 0), "a std above 0"),
        ((float("nan"), 1), "finite numbers"),
        (127.5, "two: the mean and the std"),
        ((np.ones(3), 2), "3 numbers for 1 channels"),
    ):
        with pytest.raises(SettingError, match=told):
            ship(DIGITS, platform="ios", output=tmp_path / "app", normalization=given)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "theirs.txt").write_text("keep me")
    with pytest.raises(OutputExistsError, match="which exists"):
        ship(DIGITS, platform="android", output=tmp_path / "app")


def test_an_op_that_microcontrollers_lack_is_named(tmp_path, saved, make_file):
    import tensorflow as tf

    tflite = make_file(lambda x: tf.atan2(x, x + 1), 1, 4)
    with pytest.raises(ConversionError, match="a file with ATAN2"):
        ship(saved(tflite), platform="micro", output=tmp_path / "app")


def test_4_bit_weights_are_for_phones(tmp_path, saved, int8_file):
    from tfopt.tflite.int4 import pack_weights

    packed = saved(pack_weights(int8_file, keep=lambda op: False), class_names=list(NAMES))
    with pytest.raises(ConversionError, match="4-bit weights of CONV_2D"):
        ship(packed, platform="micro", output=tmp_path / "app")
    check_examples(ship(packed, platform="android", output=tmp_path / "app"))


def test_a_microcontroller_gives_the_same_bytes(tmp_path):
    """On TensorFlow Lite Micro itself, in the arena that is suggested, where it is installed."""
    runtime = pytest.importorskip("tflite_micro").runtime
    folder = ship(DIGITS, platform="micro", output=tmp_path / "app", class_names=NAMES)
    arena = int((folder / "model.h").read_text().split("kArenaBytes = ")[1].split(";")[0])
    model = runtime.Interpreter.from_file(str(folder / "model.tflite"), arena_size=arena)
    for number in (1, 2, 3):
        given, wanted = (
            np.fromfile(folder / "examples" / f"{number}_{kind}_0.bin", np.int8)
            for kind in ("input", "output")
        )
        model.set_input(given.reshape(1, 8, 8, 1), 0)
        model.invoke()
        np.testing.assert_array_equal(model.get_output(0).reshape(-1), wanted)


def test_shipping_loads_no_tensorflow(tmp_path):
    code = f"""
import sys
from tfopt.shipping import ship
ship({str(DIGITS)!r}, platform="micro", output={str(tmp_path / "app")!r}, class_names="0123456789")
assert not {{"tensorflow", "tf_keras", "keras"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
