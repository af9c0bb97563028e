"""The `.tflite` file: made from a Keras model, read, and run."""
