"""The gate: which Keras is used, what is read, what is refused, what is copied and written."""

import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import facts
from tfopt.errors import ModelError, OutputExistsError
from tfopt.keras2.files import UnregisteredLayerWarning
from tfopt.keras_gate import clone, load_model, save_model, tf_keras, tfmot

layers = tf_keras.layers
IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
LABELS = np.arange(4) % 3


def run_python(code, **environment):
    """What a fresh interpreter prints."""
    unset = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**unset, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


REPORT = """
import keras
print(keras.__version__[0], tf.keras.Model is keras.Model, os.environ.get("TF_USE_LEGACY_KERAS"))
"""


def test_tf_keras_of_the_user_is_untouched_when_not_used_before():
    code = "import os; from tfopt.keras_gate import tfmot; import tensorflow as tf; tfmot.sparsity"
    assert run_python(code + REPORT) == ["3", "True", "None"]


def test_tf_keras_of_the_user_is_untouched_when_used_before():
    code = "import os; import tensorflow as tf; tf.keras.Model; from tfopt.keras_gate import tfmot"
    assert run_python(code + REPORT) == ["3", "True", "None"]


def test_a_user_who_chose_keras_2_keeps_it():
    code = (
        "import os; from tfopt.keras_gate import tf_keras, tfmot; import tensorflow as tf\n"
        "print(tf.keras.Model is tf_keras.Model)"
    )
    found = run_python(code + REPORT, TF_USE_LEGACY_KERAS="1")
    assert found == ["True", "3", "False", "1"]


def small(name="small"):
    x = layers.Input((8, 8, 1), name="image")
    y = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    branch = layers.Conv2D(4, 3, padding="same", name="branch")(y)
    y = layers.add([y, layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(branch))])
    return tf_keras.Model(x, layers.Dense(3, name="head")(layers.Flatten()(y)), name=name)


def trained(model, *callbacks):
    """A model that has been trained a little, as wrapped models are when they are stored."""
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.fit(IMAGES, LABELS, epochs=2, verbose=0, callbacks=list(callbacks))
    return model


def assert_same(one, other):
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(one(IMAGES), other(IMAGES), rtol=1e-6, atol=1e-6)


def quantized():
    return trained(tfmot.quantization.keras.quantize_model(small()))


def pruned():
    step = tfmot.sparsity.keras.UpdatePruningStep()
    return trained(tfmot.sparsity.keras.prune_low_magnitude(small()), step)


def clustered():
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

    # Keras does not store which centroid is the zeros': of two near zero, a reader can only guess.
    tf_keras.utils.set_random_seed(0)
    linear = tfmot.clustering.keras.CentroidInitialization.LINEAR
    return trained(cluster.cluster_weights(small(), 4, linear, preserve_sparsity=True))


@pytest.fixture(scope="module", params=[quantized, pruned, clustered], ids=lambda f: f.__name__)
def wrapped(request):
    return request.param()


def test_a_wrapped_model_is_copied_exactly(wrapped):
    copy = clone(wrapped)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in wrapped.layers]
    assert_same(wrapped, copy)
    assert copy.optimizer is None
    trained(copy, tfmot.sparsity.keras.UpdatePruningStep())  # and trains on


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_a_wrapped_model_is_brought_back(wrapped, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    save_model(wrapped, path)
    again = load_model(path)
    assert [layer.name for layer in again.layers] == [layer.name for layer in wrapped.layers]
    assert_same(wrapped, again)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_a_wrapped_model_that_keras_itself_saved_is_read(wrapped, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    wrapped.save(path)
    assert_same(wrapped, load_model(path))


def test_a_model_in_training_that_keras_itself_saved_is_read_in_another_process(tmp_path):
    kernel = small()
    kernel.get_layer("conv").kernel.assign(np.round(kernel.get_layer("conv").kernel))
    wrap = tfopt.QuantizationAware().wrap(kernel, steps_per_epoch=1, representative=IMAGES)
    for name, model in {"wrapped": wrap.model, "stripped": wrap.strip()}.items():
        for suffix in (".keras", ".h5"):
            model.save(tmp_path / f"{name}{suffix}")
        np.save(tmp_path / f"{name}.npy", model(IMAGES))
    code = (
        "import sys, numpy as np, tfopt, pathlib\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "x = np.load(folder / 'x.npy')\n"
        "for path in sorted([*folder.glob('*.keras'), *folder.glob('*.h5')]):\n"
        "    outputs = tfopt.load_model(path)(x)\n"
        "    np.testing.assert_allclose(outputs, np.load(path.with_suffix('.npy')), atol=1e-6)\n"
        "    print(path.name)\n"
    )
    np.save(tmp_path / "x.npy", IMAGES)
    found = run_python(f"import sys; sys.argv = ['', {str(tmp_path)!r}]\n{code}")
    assert found == ["stripped.h5", "stripped.keras", "wrapped.h5", "wrapped.keras"]


def test_a_cluster_preserving_model_is_copied_and_not_stored(tmp_path):
    linear = tfmot.clustering.keras.CentroidInitialization.LINEAR
    model = tfmot.clustering.keras.cluster_weights(small(), 4, linear)
    model = tfmot.clustering.keras.strip_clustering(model)
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    scheme = tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme()
    model = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    assert_same(model, clone(model))
    with pytest.raises(ModelError, match=r"'quant_conv' .* weights; expected \d+.*strip"):
        save_model(model, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())
    model.save(tmp_path / "model.keras")
    with pytest.raises(ModelError, match=r"'quant_conv' .* weights; expected \d+.*strip"):
        load_model(tmp_path / "model.keras")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same layers, written by both Keras in every format."""
    folder = tmp_path_factory.mktemp("files")
    new = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="new")])
    old = tf_keras.Sequential([layers.Input((4,), name="x"), layers.Dense(3, name="old")])
    for suffix in (".keras", ".h5"):
        new.save(folder / f"new{suffix}")
        old.save(folder / f"old{suffix}")
    old.save(folder / "old")
    old.save_weights(folder / "only_weights.h5")
    new.save_weights(folder / "only.weights.h5")
    tf.saved_model.save(tf.Module(), folder / "no_layers")
    return folder, {"new": new, "old": old}


@pytest.mark.parametrize("name", ["new.keras", "new.h5", "old.keras", "old.h5", "old"])
def test_a_file_of_either_keras_is_read(files, name):
    folder, models = files
    kind = name.partition(".")[0]
    model = load_model(folder / name)
    assert [layer.name for layer in model.layers] == ["x", kind]
    x = np.ones((2, 4), "float32")
    np.testing.assert_allclose(model(x), models[kind](x), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nothing.keras", r"nothing.keras', where there is nothing; expected a .keras or .h5 file"),
        ("cut.keras", r"cut.keras', which is damaged.*zip.* bytes\).*Fix: save the model again"),
        ("cut.h5", r"cut.h5', which is damaged.*truncated.* bytes\).*Fix: save the model again"),
        ("bare.keras", r"bare.keras', which is damaged .*: it holds no weights .*Fix: save the"),
        ("garbage.h5", r"garbage.h5', which is damaged.*signature.*expected an HDF5 file"),
        ("empty", r"empty', which holds nothing; expected .*saved_model.pb.*Fix: give the path"),
        ("no_layers", r"no_layers', which holds no Keras layers.*Fix: .*model.save\('model.keras'"),
        ("model.onnx", r"model.onnx'; expected a .keras or .h5 file.*Fix: save the Keras model"),
        ("model.tflite", r"model.tflite'; .*Fix: give the Keras model it was converted from"),
        ("only_weights.h5", r"which holds weights without a model; .*Fix: build the model, call"),
        ("only.weights.h5", r"which holds weights without a model; .*Fix: build the model, call"),
        (
            "lambda.keras",
            r"which Keras 3.* cannot read.*Fix: it holds a Python lambda; if you trust",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(files, name, text):
    folder, _ = files
    for suffix, old in ((".keras", "new.keras"), (".h5", "old.h5")):
        whole = (folder / old).read_bytes()
        (folder / f"cut{suffix}").write_bytes(whole[: len(whole) // 2])
    (folder / "garbage.h5").write_bytes(b"garbage" * 20)
    with (
        zipfile.ZipFile(folder / "new.keras") as whole,
        zipfile.ZipFile(folder / "bare.keras", "w") as bare,
    ):
        for part in ("metadata.json", "config.json"):
            bare.writestr(part, whole.read(part))
    (folder / "empty").mkdir(exist_ok=True)
    for other in ("model.onnx", "model.tflite"):
        (folder / other).write_bytes(b"")
    if name == "lambda.keras":
        x = keras.Input((4,))
        keras.Model(x, keras.layers.Lambda(lambda t: t * 2.0)(x)).save(folder / name)
    with pytest.raises(ModelError, match=text) as caught:
        load_model(folder / name)
    chained = ("cut", "garbage", "lambda", "bare")
    assert (caught.value.__cause__ is not None) == name.startswith(chained)


@pytest.mark.parametrize("other", [3, None, [1, 2]])
def test_what_is_no_model_is_refused(other):
    with pytest.raises(ModelError, match=rf"type builtins.{type(other).__name__}; expected a path"):
        load_model(other)


def test_the_keras_3_model_given_is_left_as_it_was():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    before = [v.numpy().copy() for v in model.variables + model.optimizer.variables]
    flat = load_model(model)
    flat.get_layer("dense").set_weights([w * 0 for w in flat.get_layer("dense").get_weights()])
    after = [v.numpy() for v in model.variables + model.optimizer.variables]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.compiled and model.optimizer.name == "adam"
    assert keras.__version__.startswith("3.")


def test_a_translated_model_converts_to_integers():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(4, 3, activation="hard_silu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    flat = load_model(model)
    converter = tf.lite.TFLiteConverter.from_keras_model(flat)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None]] for x in IMAGES)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    from tfopt.tflite.inspect import inspect

    assert inspect(converter.convert()).integer_only


def two_heads(home):
    """Outputs called otherwise than their layers: one by the user, one after a nested model."""
    x = home.Input((4,), name="x")
    inner = home.Sequential([home.layers.Dense(2, name="dense")], name="inner")
    model = home.Model(x, [inner(x), home.layers.Dense(3, name="head")(x)])
    model.output_names = ["inner", "classes"]
    return model


@pytest.mark.parametrize("home", [keras, tf_keras])
@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_outputs_keep_the_names_that_labels_go_by(home, suffix, tmp_path):
    flat = load_model(two_heads(home))
    save_model(clone(flat), tmp_path / f"model{suffix}")
    again = load_model(tmp_path / f"model{suffix}")
    for model in (flat, clone(flat), again):
        assert model.output_names == ["inner", "classes"]
    again.compile("adam", {"inner": "mse", "classes": "mae"})
    again.fit(np.ones((4, 4)), {"inner": np.ones((4, 2)), "classes": np.ones((4, 3))}, verbose=0)


def test_the_directory_of_a_wrapped_model_serves_by_the_names_of_inputs_and_outputs(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    wrap = tfopt.QuantizationAware().wrap(
        load_model(two_heads(tf_keras)), steps_per_epoch=1, representative=x
    )
    save_model(wrap.model, tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    found = served(x=tf.constant(x))
    assert sorted(found) == ["classes", "inner"]
    for name, output in zip(wrap.model.output_names, wrap.model(x), strict=True):
        np.testing.assert_allclose(found[name], output, atol=1e-6)


@pytest.mark.parametrize("home", [keras, tf_keras])
def test_outputs_in_dicts_are_named_by_the_way_to_them(home):
    x = home.Input((4,))
    boxes = [home.layers.Dense(size)(x) for size in (1, 2)]
    flat = load_model(home.Model(x, {"score": x, "boxes": boxes}))
    assert flat.output_names == ["boxes_0", "boxes_1", "score"]
    assert [shape[1] for shape in flat.output_shape] == [1, 2, 4]


class AddsLoss(layers.Layer):
    def call(self, x):
        self.add_loss(tf.reduce_mean(x))
        return x


class AddsLossToo(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x))
        return x


@pytest.mark.parametrize("kind", [AddsLoss, AddsLossToo])
def test_losses_of_layers_are_kept(kind):
    home = tf_keras if kind is AddsLoss else keras
    x = home.Input((4,))
    flat = load_model(home.Model(x, home.layers.Dense(2, kernel_regularizer="l2")(kind()(x))))
    flat(np.full((3, 4), 5.0, np.float32))
    penalty = 0.01 * np.sum(np.square(flat.get_weights()[0]))
    np.testing.assert_allclose(sorted(flat.losses), sorted([penalty, 5.0]), rtol=1e-5)


def test_a_loss_of_the_model_itself_is_warned_of():
    model = small()
    model.add_loss(tf.reduce_mean(model.get_layer("conv").output))
    with pytest.warns(UserWarning, match=r"add_loss added to the model 'small' are left out"):
        assert load_model(model).losses == []


def test_strings_are_refused():
    words = keras.layers.StringLookup(vocabulary=["a", "b"])
    model = keras.Sequential([keras.Input((1,), dtype="string", name="words"), words])
    with pytest.raises(ModelError, match=r"the input 'words' of strings; expected numbers"):
        load_model(model)


@pytest.mark.parametrize("home", [keras, tf_keras], ids=["keras", "tf_keras"])
@pytest.mark.parametrize("around", [False, True], ids=["alone", "bidirectional"])
def test_states_that_are_carried_on_are_refused(home, around, tmp_path):
    gru = home.layers.GRU(2, stateful=True, name="gru")
    gru = home.layers.Bidirectional(gru) if around else gru
    model = home.Sequential([home.Input((5, 3), batch_size=1), gru, home.layers.Dense(2)])
    said = (
        r"'\w*gru\w*' of class GRU with stateful=True; expected .*Fix: build it with stateful=False"
    )
    with pytest.raises(ModelError, match=said):
        load_model(model)
    model.save(tmp_path / "model.keras")
    with pytest.raises(ModelError, match=said):
        load_model(tmp_path / "model.keras")


def test_the_way_out_of_states_computes_the_same_of_a_sample():
    kept, free = (
        keras.Sequential(
            [keras.Input((5, 3), batch_size=1), keras.layers.GRU(2, stateful=stateful)]
        )
        for stateful in (True, False)
    )
    free.set_weights([weight.numpy() for weight in kept.trainable_variables])
    x = np.random.default_rng(0).normal(size=(1, 5, 3)).astype("float32")
    np.testing.assert_allclose(load_model(free)(x), kept(x), rtol=1e-5)


@pytest.mark.parametrize("home", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_one_number_for_all_samples_is_refused(home):
    mean = keras.ops.mean if home is keras else tf.reduce_mean
    x = home.Input((4,), name="x")
    scores = home.layers.Dense(2, name="scores")(x)
    with pytest.raises(
        ModelError,
        match=r"output '\S+', a single number for all .*give the op that makes it an axis",
    ):
        load_model(home.Model(x, [scores, mean(scores)]))
    assert load_model(home.Model(x, mean(scores, axis=-1))).output_shape == (None,)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, inputs):
        return {"sum": self.dense(inputs["x"]) + inputs["y"]}


def test_a_subclassed_models_inputs_keep_their_names():
    model = Subclassed()
    data = {"y": np.ones((2, 3), "float32"), "x": np.ones((2, 4), "float32")}
    expected = model(data)["sum"]
    flat = load_model(model)
    assert (flat.input_names, flat.output_names) == (["x", "y"], ["sum"])
    np.testing.assert_allclose(flat(data), expected, rtol=1e-6)


@tf_keras.utils.register_keras_serializable("tests")
class Stored(tf_keras.Model):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = layers.Dense(3)

    def call(self, x):
        return tf.nn.relu(self.dense(x))

    def get_config(self):
        return {}


def test_a_subclassed_model_is_read_from_its_file(tmp_path):
    model, x = Stored(), np.ones((2, 4), "float32")
    model(x)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras")(x), model(x))


def test_a_lambda_in_a_file_of_tf_keras_is_refused_with_the_way_out(tmp_path):
    x = layers.Input((4,))
    tf_keras.Model(x, layers.Lambda(lambda t: t * 2)(x)).save(tmp_path / "model.keras")
    with pytest.raises(ModelError, match=r"tf_keras.models.load_model\(path, safe_mode=False\)"):
        load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("in_training", [False, True])
@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_a_layer_that_nobody_registered_is_stored_and_read_in_its_scope(
    suffix, in_training, tmp_path
):
    class Mine(tf_keras.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight("w", (shape[-1], 3))

        def call(self, x):
            return x @ self.w

    model = tf_keras.Sequential([tf_keras.Input((4,)), layers.Dense(5), Mine(name="mine")])
    x = np.ones((2, 4), np.float32)
    if in_training:
        model = tfopt.QuantizationAware().wrap(model, steps_per_epoch=1, representative=x).model
    path = tmp_path / f"model{suffix}"
    with pytest.warns(UnregisteredLayerWarning, match=r"Mine \(layer 'mine'\).*_scope\({'Mine': M"):
        save_model(model, path)
    with pytest.raises(ModelError, match=r"must be registered before loading.*_scope"):
        load_model(path)
    with tf_keras.utils.custom_object_scope({"Mine": Mine}):
        again = load_model(path)
    np.testing.assert_allclose(model(x), again(x), rtol=1e-6)


def test_a_function_that_nobody_registered_is_what_to_register():
    def doubled(x):
        return 2 * x

    model = tf_keras.Sequential([layers.Dense(5, input_shape=(4,), activation=doubled)])
    with pytest.raises(ModelError, match=r"'doubled'.*Fix: decorate the function .* given"):
        load_model(model)


def test_a_plain_file_can_be_read_by_tf_keras_too(tmp_path):
    path = tmp_path / "model.keras"
    save_model(small(), path)
    assert "config.json" in zipfile.ZipFile(path).namelist()
    assert tf_keras.models.load_model(path).name == "small"


@tf_keras.utils.register_keras_serializable("tests")
class VectorQuantizeLayer(layers.Layer):
    def call(self, x):
        return tf.round(x)


def test_a_layer_that_is_called_like_a_wrapper_is_none(tmp_path, recwarn):
    model = tf_keras.Sequential(
        [layers.Dense(3, input_shape=(4,), name="PruneLowMagnitude"), VectorQuantizeLayer()]
    )
    path = tmp_path / "model.keras"
    save_model(model, path)
    assert "config.json" in zipfile.ZipFile(path).namelist()
    assert [type(layer) for layer in tf_keras.models.load_model(path).layers[-1:]] == [
        VectorQuantizeLayer
    ]
    assert not [one for one in recwarn if one.category is UnregisteredLayerWarning]
    ours = type("QuantizeLayer", (VectorQuantizeLayer,), {})
    assert not facts.is_fake_quantized(tf_keras.Sequential([tf_keras.Input((4,)), ours()]))


def test_where_a_model_cannot_be_written(tmp_path):
    model = small()
    with pytest.raises(
        ModelError, match=r"model.onnx'; expected a path that ends in .keras or .h5"
    ):
        save_model(model, tmp_path / "model.onnx")
    save_model(model, tmp_path / "directory")
    with pytest.raises(OutputExistsError, match="directory', which exists"):
        save_model(model, tmp_path / "directory")


def test_a_name_the_gate_does_not_have():
    import tfopt.keras_gate

    with pytest.raises(AttributeError, match="has no attribute 'keras4'"):
        tfopt.keras_gate.keras4  # noqa: B018 - the attribute access is what is tested


def test_a_file_of_keras_3_with_an_unknown_layer_names_the_class(tmp_path):
    class Mine(keras.layers.Layer):
        def call(self, x):
            return 2.0 * x

    inputs = keras.Input((4,))
    model = keras.Model(inputs, Mine()(keras.layers.Dense(3)(inputs)))
    model.save(tmp_path / "model.keras")
    with pytest.raises(
        ModelError, match=r"cannot read: Could not locate class 'Mine'.*Fix: a layer"
    ):
        tfopt.load_model(tmp_path / "model.keras")


def test_more_layers_in_a_row_than_python_nests_calls():
    x = inputs = keras.Input((2,))
    for _ in range(1200):
        x = keras.layers.ReLU()(x)
    model = tfopt.load_model(keras.Model(inputs, x))
    assert len(model.layers) == 1201
