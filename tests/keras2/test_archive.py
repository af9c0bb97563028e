"""The weights inside a `.keras` file are unpacked once."""

import zipfile

import numpy as np
import pytest

import tfopt
from tfopt.testing import small_cnn


@pytest.mark.parametrize("wrap", [False, True])
def test_a_keras_file_is_read_without_a_step_back(tmp_path, monkeypatch, wrap):
    model = small_cnn()
    if wrap:
        model = tfopt.MagnitudePruning(sparsity=0.5).wrap(model, steps_per_epoch=10).model
    model.save(tmp_path / "model.keras")

    def seek(*_):
        raise AssertionError("each step back unpacks the file from its start")

    monkeypatch.setattr(zipfile.ZipExtFile, "seek", seek)
    loaded = tfopt.load_model(tmp_path / "model.keras")
    assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))
