"""Networks that users bring as ONNX files."""
