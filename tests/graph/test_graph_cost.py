"""What a model costs, reckoned from its shapes."""

from tfopt.graph.cost import Cost, model_cost
from tfopt.keras_gate import tf_keras

layers = tf_keras.layers


def test_weights_of_elementwise_layers_are_no_kernels():
    image = tf_keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    x = layers.LayerNormalization(axis=(1, 2, 3))(layers.PReLU()(x))
    assert model_cost(tf_keras.Model(image, x)) == Cost(macs=8 * 8 * 108, weights=108)
