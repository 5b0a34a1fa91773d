"""Networks of Keras, as ONNX."""
