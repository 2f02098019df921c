"""The console's page in a real browser, with the installed camera, node and console."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import pytest
from processes import PATIENCE

pytest.importorskip("aiohttp", reason="needs the extra 'console'")
pytest.importorskip("selenium", reason="needs selenium, of the extra 'dev'")
if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
    pytest.skip("needs a browser: apt-get install chromium chromium-driver", allow_module_level=True)

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from lseg_ros.ros.client import RemoteNode, Session, choose_node  # noqa: E402

LABELS = ["cup", "table", "wall"]


class Stack:
    """Camera, node and console as processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> Path:
        """Starts an installed executable, and returns its log."""
        path = self._folder / f"{name}.log"
        with path.open("wb") as log:
            self._running[name] = subprocess.Popen([name, *arguments], stdout=log, stderr=subprocess.STDOUT)
        return path

    def start_node(self) -> None:
        """Starts the node with LABELS."""
        self.start("lseg_node", "--ros-args", "-p", f"labels:={LABELS}", "-p", "backend:=torch")

    def kill(self, name: str) -> None:
        """Ends one process at once."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        """Ends all processes."""
        for name in list(self._running):
            self.kill(name)


@pytest.fixture
def stack(tmp_path: Path, domain: int) -> Iterator[Stack]:
    made = Stack(tmp_path)
    yield made
    made.close()


@pytest.fixture
def page(stack: Stack, tmp_path: Path) -> Iterator["Page"]:
    """The page, open in Chromium, with a camera that shows a cup of coffee alternately in two shades."""
    spec = find_spec("skimage")
    assert spec is not None and spec.origin is not None
    photo = cv2.imread(str(Path(spec.origin).parent / "data" / "coffee.png"))
    assert photo is not None
    photo = cv2.resize(photo, (320, 240))
    for name, shade in (("a", photo), ("b", cv2.convertScaleAbs(photo, alpha=0.8))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), shade)
    sources = str([str(tmp_path / f"{name}.png") for name in "ab"])
    stack.start("image_player", "--ros-args", "-p", f"sources:={sources}", "-p", "rate:=3.0", "-p", "hold:=0.3")
    stack.start_node()
    log = stack.start("lseg_console", "--port", "0")
    address = until(lambda: re.search(r"http://\S+", log.read_text()))[0]
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1360,1800"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    made = Page(driver)
    try:
        driver.get(address)
        yield made
        # There is no script error and no violation of the content security policy. A refused label is logged as a 409.
        noted = [entry for entry in driver.get_log("browser") if "/api/labels - " not in entry["message"]]
        assert noted == []
    finally:
        # pytest shows this where the test failed.
        print(made.text("#why"), made.text("#caption"), made.text("#connection"), dict(made.data_set()), sep="\n")
        print(*(f"{path}:\n{path.read_text()[-2000:]}" for path in sorted(tmp_path.glob("*.log"))), sep="\n")
        driver.quit()


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.1)
    return found


class Page:
    """A person's view of the page, and their actions."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def find(self, css: str) -> Any:
        """Returns the first element that matches."""
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        """Returns the text of an element, shown or not; empty if there is none."""
        return str(
            self.driver.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", css) or ""
        )

    def data(self, name: str) -> str:
        """Returns a fact about the frame on display."""
        return str(self.driver.execute_script(f"return document.getElementById('stage').dataset.{name} ?? ''"))

    def data_set(self) -> dict[str, str]:
        """Returns all facts about the frame on display, and the chosen layer and label."""
        script = (
            "return {...document.getElementById('stage').dataset, layer: layer.value, label: "
            "document.getElementById('score-label').value}"
        )
        return dict(self.driver.execute_script(script))

    def names(self) -> list[str]:
        """Returns the names in the list of labels."""
        return self.values("#labels [data-label]", "dataset.label")

    def values(self, css: str, what: str) -> list[Any]:
        """Returns a property of each matching element, read at once, because the page may replace them at any time."""
        script = f"return [...document.querySelectorAll(arguments[0])].map((element) => element.{what})"
        return list(self.driver.execute_script(script, css))

    def painted(self, css: str = "#over") -> str:
        """Returns the pixels of a canvas as a text that differs if they do."""
        return str(self.driver.execute_script("return document.querySelector(arguments[0]).toDataURL()", css))

    def share(self, name: str) -> float:
        """Returns a label's share of the picture, in percent."""
        found = re.search(r"[\d.]+", self.text(f'[data-share="{name}"]'))
        return float(found[0]) if found else 0.0

    def add(self, name: str) -> None:
        """Types a label and presses Enter."""
        field = self.find("#add-name")
        field.clear()
        field.send_keys(name, Keys.ENTER)


def test_the_page(page: Page, stack: Stack) -> None:
    # A frame that changes
    until(lambda: page.data("stamp"))
    before, image = page.data("stamp"), page.painted("#image")
    until(lambda: page.data("stamp") != before and page.painted("#image") != image)
    until(lambda: page.names() == LABELS)
    until(lambda: page.share("cup") > 5)
    assert page.find("#why").text == ""

    # A label is added: it is in force, and in the picture
    page.add("bowl")
    until(lambda: page.names() == [*LABELS, "bowl"])
    with Session("check") as session:
        node = RemoteNode(session, choose_node(session, "/lseg", timeout=PATIENCE))
        assert [label.name for label in node.labels().labels] == [*LABELS, "bowl"]
    until(lambda: page.share("bowl") > 0)

    # A refused label shows the node's sentence
    page.add("cup")
    until(lambda: page.values("#label-message", "className") == ["error"])
    assert "'cup' is there more than once" in page.text("#label-message")

    # A label is text, never markup
    markup = "<img src=x onerror=alert(1)>"
    page.add(markup)
    until(lambda: markup in page.names())
    assert not page.driver.find_elements(By.CSS_SELECTOR, "#labels img")

    # Undo, twice
    page.find("#undo").click()
    until(lambda: page.names() == [*LABELS, "bowl"])
    page.find("#undo").click()
    until(lambda: page.names() == LABELS)

    # A pixel: which labels compete there
    stage = page.find("#stage")
    ActionChains(page.driver).move_to_element(stage).click().perform()
    until(lambda: set(page.values("#pixel [data-name]", "dataset.name")) == set(LABELS))
    shares = page.values("#pixel meter", "value")
    assert sum(shares) == pytest.approx(1, abs=0.01) and shares == sorted(shares, reverse=True)
    assert " wins. Without it: " in page.text("#pixel-message")

    # The same by the keyboard
    first = page.text("#pixel-message")
    stage.send_keys(*[Keys.ARROW_RIGHT] * 5, Keys.ENTER)
    until(lambda: page.text("#pixel-message") != first)

    # A phrase
    page.find("#phrase").send_keys("spoon", Keys.ENTER)
    until(lambda: page.data("frozen") == "spoon")
    assert re.search(r"score [\d.]+, cosine", page.text("#caption"))
    page.find("#live").click()
    assert page.data("frozen") == ""

    # A label is taught by a rectangle and a pixel, and taken back
    page.find("#teach-start").click()
    until(lambda: page.data("frozen") == "marks")
    ActionChains(page.driver).move_to_element_with_offset(stage, -60, -40).click_and_hold().move_by_offset(
        30, 20
    ).release().perform()
    page.find("#teach-against").click()
    ActionChains(page.driver).move_to_element_with_offset(stage, 100, 60).click().perform()
    until(lambda: page.text("#teach-count") == "1 for it, 1 against it")
    page.find("#teach-label").send_keys("brew")
    page.find("#teach-apply").click()
    until(lambda: page.names() == [*LABELS, "brew"])
    until(lambda: page.data("frozen") == "" and "brew is taught" in page.text("#teach-message"))
    until(lambda: page.share("brew") > 0)
    page.find("#undo").click()
    until(lambda: page.names() == LABELS)

    # One label's score, and the confidence
    for layer in ("score", "confidence"):
        painted = page.painted()
        page.driver.execute_script(
            "const layer = document.getElementById('layer'); layer.value = arguments[0];"
            "layer.dispatchEvent(new Event('change'))",
            layer,
        )
        until(lambda: page.painted() != painted)  # noqa: B023

    # The node is lost, and comes back
    stack.kill("lseg_node")
    until(lambda: "is gone" in page.text("#why"))
    stamp = page.data("stamp")
    stack.start_node()
    until(lambda: page.data("stamp") != stamp)
    until(lambda: page.find("#why").text == "")
