"""The page's HTTP requests: labels, label files, queries, pixels, teaching."""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import cv2
from aiohttp import web

from lseg_ros.console.encode import as_bytes, jpeg
from lseg_ros.console.hub import Busy, Hub
from lseg_ros.console.labels import (
    label_set_json,
    label_set_yaml,
    packaged_files,
    spec_json,
    specs_from_json,
    specs_from_upload,
)
from lseg_ros.console.limits import Rate
from lseg_ros.console.stream import StreamKey
from lseg_ros.images.messages import ImageError
from lseg_ros.inference.label_file import read_label_file
from lseg_ros.inference.labels import LabelError
from lseg_ros.inference.lessons import Marks
from lseg_ros.ros.client import ClientError, NoAnswer, NotFound, Refused
from lseg_ros.ros.client.arrays import to_array

HUB: web.AppKey[Hub] = web.AppKey("hub")
_RATE: web.AppKey[Rate] = web.AppKey("rate")
_BURST, _PER_SECOND = 30, 10  # most POSTs of all pages together
_MOST_PHRASES = 8
_LONGEST_TEXT = 1024  # most characters of a name or phrase; the node has its own limits
_LARGEST_SIDE = 65536  # most pixels of an image's side
_HEAT_SIDE = 640  # pixels of the longest side of a heat map


class BadRequest(ValueError):
    """The page of this package never sends such a request. The message is one sentence."""


def add_routes(app: web.Application) -> None:
    """Adds the routes to an application that has a hub."""
    app[_RATE] = Rate(_BURST, _PER_SECOND)
    app.router.add_get("/api/labels.yaml", _answer(_labels_yaml))
    app.router.add_get("/api/label_files", _answer(_label_files))
    for name, handler in {
        "labels": _set_labels,
        "read_labels": _read_labels,
        "enable": _enable,
        "query": _query,
        "probe": _probe,
        "hold": _hold,
        "teach": _teach,
    }.items():
        app.router.add_post(f"/api/{name}", _answer(handler))


def _answer(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Turns errors into answers: a status and one sentence."""
    statuses: dict[type[Exception], int] = {
        BadRequest: 400,
        LabelError: 400,
        Refused: 409,
        NotFound: 404,
        NoAnswer: 504,
        ClientError: 502,
        Busy: 503,
    }

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST" and not request.app[_RATE].admit():
            return web.json_response({"error": f"more than {_PER_SECOND} requests a second; wait a moment"}, status=429)
        try:
            return await handler(request)
        except tuple(statuses) as error:
            status = next(code for kind, code in statuses.items() if isinstance(error, kind))
            return web.json_response({"error": str(error)}, status=status)

    return answer


async def _body(request: web.Request, **kinds: type) -> dict[str, Any]:
    """Reads the JSON of a request.

    Args:
        request: The request.
        kinds: The required keys, no more and no less, and the type of each value.

    Raises:
        BadRequest: The request is not of this form.
    """
    if request.content_type != "application/json":
        raise BadRequest("send JSON, with Content-Type: application/json")
    try:
        content = json.loads(await request.text())
    except (ValueError, RecursionError, LookupError):
        raise BadRequest("the request is no JSON") from None
    if not isinstance(content, dict) or set(content) != set(kinds):
        raise BadRequest(f"the request needs exactly {', '.join(kinds)}")
    for key, kind in kinds.items():
        if type(content[key]) is not kind:  # True is an int too
            raise BadRequest(f"{key} must be of type {kind.__name__}")
        if kind is str and key != "text" and len(content[key]) > _LONGEST_TEXT:
            raise BadRequest(f"{key} is longer than {_LONGEST_TEXT} characters")
    return content


async def _set_labels(request: web.Request) -> web.Response:
    body = await _body(request, node=str, labels=list, force=bool)
    specs = specs_from_json(body["labels"])
    hub = request.app[HUB]
    answer = await hub.call(lambda: hub.remote(body["node"]).set_labels(specs, force=body["force"]))
    return web.json_response({**label_set_json(answer.label_set), "message": answer.message})


async def _labels_yaml(request: web.Request) -> web.Response:
    hub, node = request.app[HUB], request.query.get("node", "")[:_LONGEST_TEXT]
    label_set = await hub.call(lambda: hub.remote(node).labels())
    return web.Response(
        text=label_set_yaml(label_set),
        content_type="application/yaml",
        headers={"Content-Disposition": 'attachment; filename="labels.yaml"'},
    )


async def _label_files(request: web.Request) -> web.Response:
    return web.json_response(list(packaged_files()))


async def _read_labels(request: web.Request) -> web.Response:
    """Returns the labels of a packaged file, by name, or of the text of another one."""
    body = await _body(request, name=str, text=str)
    if body["name"]:
        known = packaged_files()
        if body["name"] not in known:
            raise BadRequest(f"there is no label file {body['name']!r}; there are: {', '.join(known)}")
        specs = await request.app[HUB].run(lambda: read_label_file(known[body["name"]]))
    else:
        specs = await request.app[HUB].run(lambda: specs_from_upload(body["text"]))
    return web.json_response([spec_json(spec) for spec in specs])


async def _enable(request: web.Request) -> web.Response:
    body = await _body(request, node=str, enabled=bool)
    hub = request.app[HUB]
    return web.json_response({"message": await hub.call(lambda: hub.remote(body["node"]).enable(body["enabled"]))})


async def _query(request: web.Request) -> web.Response:
    """Returns where phrases are in the last image, each with a heat map, and that image if it is still kept."""
    body = await _body(request, node=str, camera=str, phrases=list)
    phrases = body["phrases"]
    if not all(isinstance(p, str) and len(p) <= _LONGEST_TEXT for p in phrases) or len(phrases) > _MOST_PHRASES:
        raise BadRequest(f"phrases must be up to {_MOST_PHRASES} texts")
    hub = request.app[HUB]
    found = await hub.call(lambda: hub.remote(body["node"]).query(phrases, camera=body["camera"]))
    key = StreamKey(body["node"], body["camera"], "mask", "")
    return web.json_response(await hub.run(lambda: _query_json(hub, key, phrases, found)))


def _picture(hub: Hub, key: StreamKey, header: Any) -> dict[str, Any]:
    """Returns the stamp of an image, and the image if it is still kept."""
    stamp = header.stamp.sec, header.stamp.nanosec
    try:
        rgb = hub.image_at(key, stamp)
    except ImageError:
        rgb = None
    return {"stamp": stamp, "image": None if rgb is None else _base64(jpeg(rgb))}


def _query_json(hub: Hub, key: StreamKey, phrases: list[str], found: Any) -> dict[str, Any]:
    matches = []
    for phrase, score, cosine, u, v, box, heat in zip(
        phrases,
        found.best_score,
        found.best_cosine,
        found.best_u,
        found.best_v,
        found.best_region,
        found.scores,
        strict=True,
    ):
        pixels = as_bytes(to_array(heat))
        matches.append(
            {
                "phrase": phrase,
                "score": score,
                "cosine": cosine,
                "u": u,
                "v": v,
                "box": [box.x_offset, box.y_offset, box.width, box.height],
                "size": [heat.width, heat.height],
                "heat": _base64(jpeg(_small(pixels))),
            }
        )
    return {**_picture(hub, key, found.header), "matches": matches}


async def _probe(request: web.Request) -> web.Response:
    """Returns which labels compete at a pixel of the last image."""
    body = await _body(request, node=str, camera=str, u=int, v=int)
    if not all(0 <= body[name] < _LARGEST_SIDE for name in ("u", "v")):
        raise BadRequest(f"u and v must be from 0 to {_LARGEST_SIDE - 1}")
    hub = request.app[HUB]
    found = await hub.call(lambda: hub.remote(body["node"]).probe(body["u"], body["v"], camera=body["camera"]))
    return web.json_response(
        {
            "stamp": (found.header.stamp.sec, found.header.stamp.nanosec),
            "version": found.label_version,
            "competitors": [
                {"name": name, "share": share, "cosine": cosine}
                for name, share, cosine in zip(found.names, found.shares, found.cosines, strict=True)
            ],
        }
    )


async def _hold(request: web.Request) -> web.Response:
    """Makes the node keep its last image for marks, and shows it."""
    body = await _body(request, node=str, camera=str)
    hub = request.app[HUB]
    found = await hub.call(lambda: hub.remote(body["node"]).teach("", camera=body["camera"]))
    key = StreamKey(body["node"], body["camera"], "mask", "")
    return web.json_response(await hub.run(lambda: _picture(hub, key, found.header)))


async def _teach(request: web.Request) -> web.Response:
    """Teaches a label by marks on the image that `_hold` has kept."""
    kinds = {"toward": dict, "against": dict, "stamp": list, "alone": bool}
    body = await _body(request, node=str, camera=str, label=str, **kinds)
    toward, against, stamp = _marks(body["toward"]), _marks(body["against"]), body["stamp"]
    if not _are_numbers(stamp, 2, 2**31):
        raise BadRequest("stamp must be seconds and nanoseconds")
    hub = request.app[HUB]

    def call() -> Any:
        return hub.remote(body["node"]).teach(
            body["label"], toward, against, stamp=tuple(stamp), alone=body["alone"], camera=body["camera"]
        )

    found = await hub.call(call)
    return web.json_response(
        {"message": found.message, "version": found.label_version, "before": label_set_json(found.before)["labels"]}
    )


def _marks(content: dict[str, Any]) -> Marks:
    """Reads {points: [[u, v], ...], boxes: [[left, top, width, height], ...]}; raises BadRequest."""
    if set(content) != {"points", "boxes"} or not all(isinstance(part, list) for part in content.values()):
        raise BadRequest("marks need exactly points and boxes, as lists")
    for name, count in (("points", 2), ("boxes", 4)):
        if not all(_are_numbers(mark, count, _LARGEST_SIDE) for mark in content[name]):
            raise BadRequest(f"each of {name} must be {count} whole numbers from 0 to {_LARGEST_SIDE - 1}")
    return Marks(content["points"], [(x, y, w, h) for x, y, w, h in content["boxes"]])


def _are_numbers(content: Any, count: int, limit: int) -> bool:
    if not isinstance(content, list) or len(content) != count:
        return False
    return all(type(number) is int and 0 <= number < limit for number in content)


def _small(pixels: Any) -> Any:
    scale = _HEAT_SIDE / max(pixels.shape)
    return pixels if scale >= 1 else cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
