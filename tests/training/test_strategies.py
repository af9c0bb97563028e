"""Several devices and several processes: both need a process of their own."""

import json
import os
import socket
import subprocess
import sys
from concurrent import futures

import pytest

import tfopt
from tfopt.errors import SettingError
from tfopt.testing import dense_net
from tfopt.training import strategies

_APPLY = """
import hashlib
import tfopt
from tfopt import facts, training
from tfopt.errors import SettingError
from tfopt.keras_gate import tf_keras
from tfopt.testing import dense_net, small_cnn
from tfopt.training import strategies

def apply(technique, model, task):
    with training.recorded() as trainings:
        model = technique.apply(model, task)
    found = facts.measure(model)
    print(json.dumps({
        "technique": technique.name,
        "weights": hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest(),
        "kind": type(model.weights[0]).__name__,
        "sparsity": found.sparsity,
        "unique": found.unique_weights,
        "steps": trainings[-1].steps,
        "evaluations": len(trainings[-1].evaluations),
        "chief": strategies.is_chief(task),
    }))
    return model
"""

_CHAIN = """
tf_keras.utils.set_random_seed(0)  # the same model for each worker
model = dense_net()
for technique in (
    tfopt.MagnitudePruning(sparsity=0.5, steps=8),
    tfopt.WeightClustering(clusters=4, steps=6, teacher="baseline"),
    tfopt.QuantizationAware(steps=6),
):
    model = apply(technique, model, task)
"""

_TWO_DEVICES = """
import json
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""


def run(*scripts, **environment):
    """Starts Python on a script, one for each script."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.Popen(
        [sys.executable, "-c", "".join(scripts)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(process):
    """What a script printed as JSON, line by line."""
    out, err = process.communicate(timeout=1200)
    assert process.returncode == 0, err[-3000:]
    return [json.loads(line) for line in out.splitlines() if line.startswith(("{", '"'))]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.mark.slow
def test_two_workers_end_with_the_same_weights_and_one_writes():
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    script = """
import json
from tfopt.training import strategies
strategies.begin("multi_worker")
import tfopt
task = tfopt.Task.digits().distributed("multi_worker")
"""
    refused = """
for settings in ({"seconds": 60}, {"early_stopping": 2}):
    try:
        tfopt.Distillation(**settings).apply(small_cnn(), task)
    except SettingError as error:
        print(json.dumps(str(error)))
"""
    workers = [
        run(
            script,
            _APPLY,
            _CHAIN,
            refused,
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]
    with futures.ThreadPoolExecutor() as pool:  # read both, or one waits for a full pipe
        first, second = pool.map(printed, workers)
    assert len(first) == 5
    for ours, theirs in zip(first[:3], second[:3], strict=True):
        assert ours["weights"] == theirs["weights"]
        assert ours["sparsity"] == theirs["sparsity"]
        assert (ours["chief"], theirs["chief"]) == (True, False)
    pruned, clustered, quantized = first[:3]
    assert pruned["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert clustered["sparsity"] >= pruned["sparsity"]
    assert clustered["unique"] == quantized["unique"] == 4
    assert "seconds=60 with several workers" in first[3]
    assert "early_stopping=2 with several workers" in first[4]


def test_several_workers_are_refused_their_own_decisions_before_anything_else():
    script = """
import json
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
import tfopt
from tfopt.errors import SettingError
from tfopt.testing import dense_net
task = tfopt.Task.digits().distributed(strategy)
for technique in (tfopt.WeightClustering, tfopt.ChannelPruning):
    aim = {"macs": 0.5} if technique is tfopt.ChannelPruning else {}
    try:
        technique(**aim, early_stopping=2, only=("nope",)).apply(dense_net(), task)
    except SettingError as error:
        print(json.dumps(str(error)))
"""
    first, second = printed(run(script))
    assert "early_stopping=2 with several workers" in first
    assert first == second


@pytest.mark.slow
def test_two_devices_train_every_technique():
    others = """
task = tfopt.Task.digits().distributed("mirrored")
for technique in (
    tfopt.Distillation(steps=20, early_stopping=10),
    tfopt.ChannelPruning(channels=0.5, epochs=0.2, multiple_of=1, teacher="baseline"),
    tfopt.LowRank(energy=0.5, steps=6),
    tfopt.WeightClustering(clusters=4, steps=6),
):
    apply(technique, small_cnn(), task)
odd = tfopt.Task.digits(batch_size=9).distributed("mirrored")
try:
    tfopt.Distillation().apply(small_cnn(), odd)
except SettingError as error:
    print(json.dumps(str(error)))
strategy = strategies.strategy_of(task)
with strategy.scope():
    try:
        tfopt.Distillation().apply(small_cnn(), tfopt.Task.digits())
    except SettingError as error:
        print(json.dumps(str(error)))
"""
    mirrored = 'task = tfopt.Task.digits().distributed("mirrored")\n'
    lines = printed(run(_TWO_DEVICES, _APPLY, mirrored, _CHAIN, others))
    pruned, clustered, quantized, taught, _, _, again, odd, ambient = lines
    assert pruned["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert clustered["unique"] == quantized["unique"] == again["unique"] == 4
    assert taught["evaluations"] > 1
    assert {line["kind"] for line in lines[:7]} == {"ResourceVariable"}
    assert "batch_size=9 for 2 replicas" in odd
    assert "use batch_size=10" in odd
    assert "inside of strategy.scope()" in ambient


def test_a_strategy_is_part_of_a_task_and_of_its_source():
    task = tfopt.Task.digits().distributed("mirrored")
    assert tfopt.Task.from_source(task.source).strategy == "mirrored"
    assert task.distributed(None).source == tfopt.Task.digits().source
    with pytest.raises(SettingError, match=r"strategy='mirored'; expected .*mirrored"):
        task.distributed("mirored")


def test_strategies_that_cannot_be_had(monkeypatch):
    import tensorflow as tf

    monkeypatch.delenv("TF_CONFIG", raising=False)
    technique = tfopt.Distillation(epochs=0.1)
    with pytest.raises(SettingError, match="'multi_worker' without the environment variable TF_"):
        technique.apply(dense_net(), tfopt.Task.digits().distributed("multi_worker"))
    central = tf.distribute.OneDeviceStrategy("/cpu:0")
    with pytest.raises(SettingError, match=r"strategy=OneDeviceStrategy; expected a MirroredStrat"):
        technique.apply(dense_net(), tfopt.Task.digits().distributed(central))


def test_alone_a_process_writes_its_files(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"task": {"type": "worker", "index": 1}}')
    assert strategies.is_chief(tfopt.Task.digits())
