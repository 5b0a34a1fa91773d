"""OpenAPI: what a server answers, for programs that read descriptions."""

from __future__ import annotations

from typing import Any

from pomona import __version__
from pomona.serving.problems import MEDIA_TYPE
from pomona.serving.settings import ServeSettings

ID, MODEL = "6f1f8f1f2ad54c5f8f3f3cf0a3a0a1b2", "0123456789abcdef"
TEXT, NUMBER = {"type": "string"}, {"type": "number"}
OPTIONAL_TEXT = {"type": ["string", "null"]}
SHARE = {"type": "number", "minimum": 0, "maximum": 1.000001}


def describe(settings: ServeSettings) -> dict[str, Any]:
    """Returns the description of a server by OpenAPI 3.1.

    Parameters
    ----------
    settings : ServeSettings
        Its bounds.
    """
    secured = settings.token_file is not None
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pomona",
            "version": __version__,
            "description": "Labels and features of images, by the classifier and the network of a "
            "store. An image is the body of a request; several are the files of a multipart body. "
            f"A request has at most {settings.max_bytes:,} bytes and {settings.max_images} images.",
        },
        "servers": [{"url": "/"}],
        "paths": _paths(settings, secured),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths(settings: ServeSettings, secured: bool) -> dict[str, Any]:
    def images(name: str, summary: str, schema: str, example: dict[str, Any]) -> dict[str, Any]:
        return _on_images(settings, secured, name, summary, schema, example)

    predict = images("predictions", "Label images", "Prediction", PREDICTION)
    model = {"schema": _ref("Model")}
    return {
        "/v1/predict": {"post": predict},
        "/invocations": {"post": {**predict, "summary": "The same, for SageMaker"}},
        "/v1/features": {
            "post": images("features", "Compute the features of images", "Features", FEATURES)
        },
        "/v1/search": {
            "post": images("found", "Find the nearest images of the store", "Found", FOUND)
        },
        "/v1/images/{id}": {"get": _picture(secured)},
        "/v1/feedback": {"post": _feedback(secured)},
        "/v1/model": {"get": _operation("What answers", model, _problems(401, 503), secured)},
        "/healthz": {"get": _status("Whether the server lives")},
        "/readyz": {"get": _status("Whether a worker is ready")},
        "/ping": {"get": _status("The same, for SageMaker")},
    }


def _on_images(
    settings: ServeSettings,
    secured: bool,
    name: str,
    summary: str,
    schema: str,
    example: dict[str, Any],
) -> dict[str, Any]:
    """An operation on images: one object for one image, a list of them for several."""
    content = {
        "schema": {"anyOf": [_list_of(name, schema), _ref(schema)]},
        "examples": {
            "one": {"summary": "an image as the body", "value": example},
            "several": {
                "summary": "images of a multipart body",
                "value": {name: [{**example, "name": "photo.jpg"}, FAILED]},
            },
        },
    }
    body = {
        "required": True,
        "content": {
            "image/*": {},
            "application/octet-stream": {},
            "multipart/form-data": {"schema": _files(settings)},
        },
    }
    refused = _problems(400, 401, 403, 404, 408, 413, 422, 503)
    return _operation(summary, content, refused, secured, body)


def _feedback(secured: bool) -> dict[str, Any]:
    examples = {
        "right": {"value": {"id": ID, "confirmed": True}},
        "wrong": {"value": {"id": ID, "confirmed": False}},
        "corrected": {"value": {"id": ID, "label": "Pear"}},
    }
    content = {"schema": _ref("Judgement"), "examples": examples}
    return _operation(
        "Say whether a prediction was right",
        {"schema": _ref("Kept"), "example": {"id": ID, "label": "Pear"}},
        _problems(400, 401, 403, 404, 408, 413, 422, 503),
        secured,
        {"required": True, "content": {"application/json": content}},
    )


def _picture(secured: bool) -> dict[str, Any]:
    content = {"schema": {"type": "string", "contentMediaType": "image/webp"}}
    operation = _operation(
        "The small picture of an image of the store", {}, _problems(401, 404, 503), secured
    )
    operation["responses"]["200"] = {
        "description": "The picture",
        "content": {"image/webp": content},
    }
    parameter = {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The `sha256` of a nearest image",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }
    return {**operation, "parameters": [parameter]}


def _operation(
    summary: str,
    content: dict[str, Any],
    refused: dict[str, Any],
    secured: bool,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    good = {"description": "The answer", "content": {"application/json": content}}
    operation: dict[str, Any] = {"summary": summary, "responses": {"200": good, **refused}}
    if body is not None:
        operation["requestBody"] = body
    return {**operation, "security": [{"token": []}]} if secured else operation


def _status(summary: str) -> dict[str, Any]:
    content = {"schema": _object(status=TEXT), "example": {"status": "ok"}}
    return _operation(summary, content, _problems(503), secured=False)


def _problems(*statuses: int) -> dict[str, Any]:
    def refused(status: int) -> dict[str, Any]:
        response: dict[str, Any] = {
            "description": REFUSED[status],
            "content": {MEDIA_TYPE: {"schema": _ref("Problem")}},
        }
        if status == 503:
            response["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
        return response

    return {str(status): refused(status) for status in statuses}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": required.split()} if required else schema


def _list_of(name: str, schema: str) -> dict[str, Any]:
    return _object(name, **{name: {"type": "array", "items": _ref(schema)}})


def _files(settings: ServeSettings) -> dict[str, Any]:
    files = {
        "type": "array",
        "items": {"type": "string", "contentMediaType": "application/octet-stream"},
        "maxItems": settings.max_images,
    }
    return _object("images", images=files)


def _schemas() -> dict[str, Any]:
    top = {"type": "array", "items": _object("label probability", label=TEXT, probability=SHARE)}
    error = _object("stage reason", stage=TEXT, reason=TEXT, detail=OPTIONAL_TEXT)
    nearest = {
        "type": "array",
        "items": _object(
            "path similarity",
            path=TEXT,
            label=OPTIONAL_TEXT,
            sha256=OPTIONAL_TEXT,
            similarity=NUMBER,
        ),
    }
    numbers = {"type": "array", "items": NUMBER}
    return {
        "Prediction": _object(
            "id model",
            id=TEXT,
            model=OPTIONAL_TEXT,
            name=TEXT,
            label=TEXT,
            probability=SHARE,
            unsure={"type": "boolean"},
            distance=NUMBER,
            top=top,
            nearest=nearest,
            error=error,
        ),
        "Features": _object("", name=TEXT, recipe=TEXT, features=numbers, error=error),
        "Found": _object("", name=TEXT, nearest=nearest, error=error),
        "Judgement": _object("id", id=TEXT, confirmed={"type": "boolean"}, label=TEXT),
        "Kept": _object("id", id=TEXT, label=OPTIONAL_TEXT),
        "Model": _object(
            "model labels",
            model=OPTIONAL_TEXT,
            kind=OPTIONAL_TEXT,
            labels={"type": "array", "items": TEXT},
            accuracy={"type": ["number", "null"]},
            backbone=TEXT,
            input_size={"type": "integer"},
            features={"type": "integer"},
            recipe=TEXT,
            nearest={"type": "boolean"},
            pomona=TEXT,
        ),
        "Problem": _object(
            "title status detail",
            title=TEXT,
            status={"type": "integer"},
            detail=TEXT,
            stage=TEXT,
            reason=TEXT,
        ),
    }


REFUSED = {
    400: "The request cannot be understood",
    401: "A token is needed",
    403: "A page of this origin may not ask",
    404: "There is no classifier, no search, no feedback, no such image, or no such prediction",
    408: "The request took too long to arrive",
    413: "More bytes, or more images, than the server takes",
    422: "The image gives no features, with stage and reason; or what is said contradicts itself",
    503: "Too much to do: ask again after `Retry-After` seconds",
}
_TOP = [{"label": "Pear", "probability": 0.9921875}, {"label": "Quince", "probability": 0.0078125}]
_NEAREST = [{"path": "Training/Pear/7.jpg", "label": "Pear", "sha256": None, "similarity": 0.97}]
PREDICTION: dict[str, Any] = {
    "id": ID,
    "model": MODEL,
    "label": "Pear",
    "probability": 0.9921875,
    "unsure": False,
    "distance": 0.5,
    "top": _TOP,
    "nearest": _NEAREST,
}
FEATURES: dict[str, Any] = {"recipe": MODEL, "features": [0.0, 0.5, 1.25]}
FOUND: dict[str, Any] = {"nearest": _NEAREST}
FAILED: dict[str, Any] = {
    "id": ID,
    "model": MODEL,
    "name": "broken.jpg",
    "error": {"stage": "decode", "reason": "truncated", "detail": None},
}
