"""The console's server with a real node over DDS: frames, labels, queries, and when topics are subscribed to."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="needs the extra 'console'")

from aiohttp import WSMsgType, WSServerHandshakeError  # noqa: E402
from console_browser import SCENE, WAIT, Browser, Frame, OpenPage  # noqa: E402
from fakes import FakeSegmenter  # noqa: E402
from graph import Graph  # noqa: E402

from lseg_ros.console import limits  # noqa: E402


def subscriptions(graph: Graph) -> set[str]:
    """Returns topics of the node under test, or of its camera, that have subscribers."""
    assert graph.node is not None
    topics = [p.topic_name for p in graph.node.publishers if p.topic_name.startswith("/lseg/")]
    return {topic for topic in (*topics, "/image", "/diagnostics") if graph.client.count_subscribers(topic)}


async def until(condition: Callable[[], Any]) -> None:
    async def look() -> None:
        while not condition():
            await asyncio.sleep(0.05)

    await asyncio.wait_for(look(), WAIT)


def test_a_frame_has_the_image_and_its_mask(lseg: Callable[..., None], serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        async with browser.page(layer="mask") as page:
            frame = await page.frame()
            while frame.image is None:  # the camera's topic may be found a moment after the mask's
                frame = await page.frame()
            labels = [label["name"] for label in page.latest["labels"]["labels"]]
            assert frame.header["layer"] == "mask" and frame.header["size"] == [48, 24]
            assert [labels[frame.layer[12, u]] for u in (8, 24, 40)] == ["red", "green", "blue"]
            assert np.abs(frame.image[..., ::-1].astype(int) - SCENE)[:, 2:14].max() < 40  # JPEG, away from edges
            again = await page.frame()
            assert again.header["stamp"] > frame.header["stamp"]

    lseg()
    serve(use)


def test_layers(lseg: Callable[..., None], serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        async with browser.page() as page:
            await page.frame()
            await page.watch(layer="confidence")
            frame = await page.frame()
            while frame.header["layer"] != "confidence":
                frame = await page.frame()
            assert frame.layer.shape == (24, 48) and frame.layer.min() > 200
            await page.watch(layer="score", label="green")
            while frame.header["layer"] != "score":
                frame = await page.frame()
            assert frame.header["label"] == "green"
            assert frame.layer[12, 24] > 200 and frame.layer[12, 8] < 50

    lseg()
    serve(use)


def test_a_label_is_added_and_comes_into_the_picture(lseg: Callable[..., None], serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        async with browser.page() as page:
            frame = await page.frame()
            assert frame.layer[12, 40] == 255 or page.latest["labels"]["labels"][frame.layer[12, 40]]["name"] != "blue"
            labels = page.latest["labels"]["labels"]
            wanted = [{"name": x["name"], "class_id": x["class_id"]} for x in labels] + [{"name": "blue"}]
            status, answer = await browser.post("labels", node="/lseg", labels=wanted, force=False)
            assert status == 200 and [x["name"] for x in answer["labels"]] == ["red", "green", "blue"]
            while frame.header["version"] != answer["version"]:
                frame = await page.frame()
            assert frame.layer[12, 40] == 2
            assert [x["name"] for x in page.latest["labels"]["labels"]] == ["red", "green", "blue"]

    lseg(labels=["red", "green"])
    serve(use)


def test_a_refused_label_gets_the_nodes_sentence(lseg: Callable[..., None], serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        async with browser.page() as page:
            await page.until(lambda: page.latest.get("nodes"))
        entries: list[Any] = ["red", "x" * 300]
        status, answer = await browser.post("labels", node="/lseg", labels=entries, force=False)
        assert status == 409 and "too long" in answer["error"]
        status, answer = await browser.post("labels", node="/lseg", labels=[{"name": "a", "size": 1}], force=False)
        assert status == 400 and "unknown key 'size'" in answer["error"]
        text = await browser.get("/api/labels.yaml?node=/lseg")
        assert [x["name"] for x in (await browser.post("read_labels", name="", text=text))[1]] == [
            "red",
            "green",
            "blue",
        ]

    lseg()
    serve(use)


def test_a_query_comes_with_its_image(lseg: Callable[..., None], serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        async with browser.page() as page:
            frame = await page.frame()
            while frame.image is None:
                frame = await page.frame()
            status, answer = await browser.post("query", node="/lseg", camera="", phrases=["green", "<b>none</b>"])
            assert status == 200
            first, second = answer["matches"]
            assert first["phrase"] == "green" and first["score"] == 1.0 and 16 <= first["u"] < 32
            assert first["box"] == [16, 0, 16, 24] and first["size"] == [48, 24]
            assert second["phrase"] == "<b>none</b>" and second["score"] == 0.0
            assert answer["image"] is not None

    lseg()
    serve(use)


def test_ten_pages_leave_no_subscription(lseg: Callable[..., None], serve: Callable[..., None], graph: Graph) -> None:
    async def use(browser: Browser) -> None:
        assert subscriptions(graph) == set()
        for layer in ("mask", "confidence") * 5:
            async with browser.page(layer=layer) as page:
                await page.frame()
                assert f"/lseg/{layer}" in subscriptions(graph)
        await until(lambda: not subscriptions(graph))

    lseg()
    serve(use)


def test_a_slow_page_holds_up_nobody(
    lseg: Callable[..., None], serve: Callable[..., None], segmenter: FakeSegmenter
) -> None:
    async def use(browser: Browser) -> None:
        async with browser.page() as slow, browser.page() as quick:
            first = await slow.receive()
            while not isinstance(first, Frame):
                first = await slow.receive()
            embedded = segmenter.embedded  # and from now on this page says nothing
            for _ in range(20):
                last = await quick.frame()
            assert segmenter.embedded > embedded
            # What waited for the slow page is one frame at most: the one that it asks for is new.
            await slow.socket.send_json({"type": "ready"})
            frames = [frame for _ in range(1) if isinstance(frame := await _next_frame(slow), Frame)]
            assert frames[0].header["stamp"] >= last.header["stamp"]

    async def _next_frame(page: OpenPage) -> Frame:
        while not isinstance(found := await page.receive(), Frame):
            pass
        return found

    lseg()
    serve(use)


def test_a_node_that_was_lost_comes_back(
    lseg: Callable[..., None], serve: Callable[..., None], graph: Graph, segmenter: FakeSegmenter
) -> None:
    async def use(browser: Browser) -> None:
        async with browser.page() as page:
            await page.frame()
            await asyncio.to_thread(graph.stop)
            await page.until(lambda: page.latest["nodes"] == [])
            lseg(labels=["blue", "red"])
            await page.until(lambda: [x["name"] for x in page.latest["nodes"]] == ["/lseg"])
            await page.until(lambda: [x["name"] for x in page.latest["labels"]["labels"]] == ["blue", "red"])
            frame = await page.frame()
            while frame.layer[12, 8] != 1:
                frame = await page.frame()
            assert frame.layer[12, 40] == 0

    lseg()
    serve(use)


def test_only_the_node_that_was_named_is_offered(graph: Graph, serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        async with browser.page() as page:
            await page.receive()
            for _ in range(3):  # looks at the graph
                await asyncio.sleep(0.5)
            assert page.latest["nodes"] == []
        status, answer = await browser.post("enable", node="/lseg", enabled=False)
        assert status == 404 and "/robot1/lseg" in answer["error"]

    graph.start(lambda params: FakeSegmenter())
    serve(use, node="/robot1/lseg", camera=False)


def test_too_much_is_refused(lseg: Callable[..., None], serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        for bad in ("[", "3", '{"type": "watch"}', "x" * (limits.MESSAGE_BYTES + 1)):
            async with browser.page() as page:
                await page.socket.send_str(bad)
                while (message := await asyncio.wait_for(page.socket.receive(), WAIT)).type == WSMsgType.TEXT:
                    pass
                assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
                # 1006: of a message that is too large, the rest is not read, and the connection is reset.
                assert page.socket.close_code in ((1006, 1009) if len(bad) > limits.MESSAGE_BYTES else (1008,))
        async with browser.page() as page:
            for _ in range(200):
                await page.socket.send_json({"type": "ready"})
            while (await asyncio.wait_for(page.socket.receive(), WAIT)).type == WSMsgType.TEXT:
                pass
            assert page.socket.close_code == 1008
        async with browser.http.post(f"{browser.url}/api/labels", data="x" * (limits.BODY_BYTES + 1)) as response:
            assert response.status in (400, 413)
        answers = [await browser.post("enable", node=3, enabled=True) for _ in range(60)]
        assert answers[0][0] == 400 and 429 in [status for status, _ in answers]

    lseg()
    serve(use, camera=False)


def test_pages_are_counted(
    lseg: Callable[..., None], serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(browser: Browser) -> None:
        async with browser.page() as one, browser.page() as two:
            await one.receive()
            await two.receive()
            with pytest.raises(WSServerHandshakeError, match="503"):
                async with browser.page():
                    pass

    monkeypatch.setattr(limits, "PAGES", 2)
    lseg()
    serve(use, camera=False)


def test_a_label_is_taught_and_taken_back(lseg: Callable[..., None], serve: Callable[..., None]) -> None:
    async def use(browser: Browser) -> None:
        async with browser.page() as page:
            frame = await page.frame()
            while frame.image is None:
                frame = await page.frame()
            status, held = await browser.post("hold", node="/lseg", camera="")
            while held["image"] is None:  # the camera's image may be gone here, or not have come yet
                await page.frame()
                status, held = await browser.post("hold", node="/lseg", camera="")
            assert status == 200
            nothing: dict[str, list[Any]] = {"points": [], "boxes": []}
            marks = {
                "label": "gravel",
                "toward": {"points": [[40, 3]], "boxes": []},
                "against": {"points": [], "boxes": [[0, 0, 5, 5]]},
                "stamp": held["stamp"],
                "alone": True,
            }
            status, answer = await browser.post("teach", node="/lseg", camera="", **marks)
            assert status == 200 and answer["version"] == 2, answer
            while frame.header["version"] != 2:
                frame = await page.frame()
            assert frame.layer[12, 40] == 2
            label = page.latest["labels"]["labels"][2]
            assert label["name"] == "gravel" and label["taught"]["alone"]
            assert len(label["taught"]["for"]) == len(label["taught"]["against"]) == 1

            # It is in the file, the file can be loaded, and the former labels can be put back.
            text = await browser.get("/api/labels.yaml?node=/lseg")
            loaded = (await browser.post("read_labels", name="", text=text))[1]
            assert loaded[2]["taught"] == label["taught"]
            before = [{key: x[key] for key in ("name", "class_id", "taught")} for x in answer["before"]]
            status, answer = await browser.post("labels", node="/lseg", labels=before, force=False)
            assert status == 200 and [x["name"] for x in answer["labels"]] == ["red", "green"]
            status, answer = await browser.post("labels", node="/lseg", labels=loaded, force=False)
            assert status == 200 and answer["labels"][2]["taught"] == label["taught"]

            refused: list[tuple[dict[str, Any], int, str]] = [
                ({"stamp": [1, 2**31]}, 400, "stamp must be"),
                ({"toward": {"points": [[1]], "boxes": []}}, 400, "2 whole numbers"),
                ({"against": {"points": []}}, 400, "exactly points and boxes"),
                ({"stamp": [1, 5]}, 409, "not kept any more"),
                ({"label": "new", "toward": nothing}, 409, "there is no label 'new'"),
            ]
            for change, code, reason in refused:
                status, answer = await browser.post("teach", node="/lseg", camera="", **{**marks, **change})
                assert status == code and reason in answer["error"], answer

    lseg(labels=["red", "green"])
    serve(use)
