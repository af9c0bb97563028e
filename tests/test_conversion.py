import warnings

import pytest

import tfopt
from tfopt.keras_gate import tf_keras
from tfopt.post_training import choice
from tfopt.tflite.convert import FloatOpsWarning
from tfopt.tflite.sparse import SparseEncodingWarning

Target = tfopt.Target


@pytest.mark.parametrize(
    ("target", "category"),
    [
        (Target.int8(allow_float_ops=True, refine=False), FloatOpsWarning),
        (Target.int8(allow_float_ops=True), FloatOpsWarning),
        (Target.float32(sparse_encoding=True), SparseEncodingWarning),
        (Target.int8(sparse_encoding=True, allow_float_ops=True), SparseEncodingWarning),
    ],
    ids=["plain", "refined", "sparse", "sparse refined"],
)
def test_warnings_point_at_the_caller_once(digits, target, category, monkeypatch):
    monkeypatch.setattr(choice, "_ways", lambda _: ((tfopt.EqualizeChannels(),),))
    layers = tf_keras.layers
    image = layers.Input((8, 8, 1))
    wave = layers.Lambda(tf_keras.backend.sin)(layers.Dense(10)(layers.Flatten()(image)))
    model = tf_keras.Model(image, layers.Softmax()(wave))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tfopt.convert(model, task=digits, target=target)
    assert [w.filename for w in caught if w.category is category] == [__file__]
