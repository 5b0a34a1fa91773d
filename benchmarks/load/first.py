"""A server as one writes it first: FastAPI, Pillow and ONNX Runtime with the defaults of each.

MODEL: the file of `pomona export`. uvicorn runs it.
"""

from __future__ import annotations

import io
import json
import os
from typing import Annotated, Any

import numpy as np
import onnxruntime
from fastapi import FastAPI, File
from PIL import Image

session = onnxruntime.InferenceSession(os.environ["MODEL"])
labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
side = session.get_inputs()[0].shape[1]
app = FastAPI()


@app.post("/predict")
def predict(file: Annotated[bytes, File()]) -> dict[str, Any]:
    """The label of a photograph."""
    image = Image.open(io.BytesIO(file)).convert("RGB").resize((side, side))
    label, probabilities = session.run(None, {"images": np.asarray(image)[None]})
    return {"label": labels[label[0]], "probability": float(probabilities[0].max())}
