"""A browser for tests: headless Chromium by chromedriver's W3C protocol, over urllib alone."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BINARIES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
PATIENCE = 60  # seconds for one answer


def missing() -> str:
    """What is not installed, empty if nothing is."""
    found = {"chromium": any(map(shutil.which, BINARIES)), "chromedriver": shutil.which("chromedriver")}
    return " and ".join(name for name, path in found.items() if not path)


class Browser:
    """One session, one tab."""

    def __init__(self, address: str):
        self._address = f"{address}/session"
        options = {"args": ARGUMENTS, "binary": next(filter(None, map(shutil.which, BINARIES)))}
        asked = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self._address += "/" + self._ask("POST", "", {"capabilities": {"alwaysMatch": asked}})["sessionId"]

    def _ask(self, method: str, command: str, content: dict[str, Any] | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address + command, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:  # the browser's reason is in the body
            raise AssertionError(json.load(error)["value"]["message"].splitlines()[0]) from error

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, path: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Load a file in a window of this many CSS pixels; phones are those below 600."""
        phone = width < 600
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.devtools("Emulation.setEmulatedMedia", features=scheme)
        self._ask("POST", "/url", {"url": "about:blank"})  # a change of the fragment alone would load nothing
        self._ask("POST", "/url", {"url": path.absolute().as_uri()})

    def run(self, script: str) -> Any:
        """What the body of a function returns in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, script: str) -> None:
        """Until the body of a function returns something true, as what a reader did takes effect in its own time."""
        until = time.monotonic() + PATIENCE
        while not self.run(script):
            if time.monotonic() > until:
                raise AssertionError(f"never true: {script}")
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """A key of the keyboard, as W3C names it: "\\ue004" is Tab."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def point(self, selector: str) -> None:
        """Bring the first match to the middle and move the pointer on it."""
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', inline: 'center'}})")
        origin = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}
        self._ask("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def click(self, selector: str) -> None:
        """Bring the first match to the middle and click it as a reader does; fails if it is hidden or covered."""
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', inline: 'nearest'}})")
        element = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{next(iter(element.values()))}/click", {})

    def console(self) -> list[str]:
        """What the console has said since the last call."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """The addresses asked for since the last call."""
        log = self._ask("POST", "/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in log]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        png = self.devtools("Page.captureScreenshot", captureBeyondViewport=whole, format="png")["data"]
        path.write_bytes(base64.b64decode(png))

    def close(self) -> None:
        self._ask("DELETE", "")


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that is gone afterwards."""
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        port = next(found[1] for line in driver.stdout if (found := re.search(r"started .*port (\d+)", line)))
        tab = Browser(f"http://127.0.0.1:{port}")
        try:
            yield tab
        finally:
            tab.close()
    finally:
        driver.terminate()
        driver.wait()
