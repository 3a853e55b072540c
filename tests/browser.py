"""A headless Chromium, spoken to over a pipe in its DevTools protocol: no driver is needed."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)


CONTRAST = """
(() => {
  const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const e of document.querySelectorAll("main *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.closest("svg")) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(rgb(style.color)), light(behind(e))].sort((x, y) => y - x);
    const px = parseFloat(style.fontSize);
    const large = px >= 24 || (px >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) low.push([e.tagName, e.className, ratio.toFixed(2)].join(" "));
  }
  return low;
})()
"""

SPLIT_WORDS = """
[...document.querySelectorAll("thead th, .wide tbody th, td.text")].filter(e => {
  if (!e.checkVisibility()) return false;
  const words = e.innerText.trim().split(/\\s+/), lines = new Set();
  const range = document.createRange();
  range.selectNodeContents(e);
  for (const box of range.getClientRects()) lines.add(Math.round(box.top));
  return lines.size > words.length && (e.closest("thead") || words.every(w => w.length <= 12));
}).map(e => e.textContent)
"""


class Browser:
    """One page.

    Attributes:
        errors: what the console and uncaught exceptions said.
        requests: every address that was asked for.
    """

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._rest = b""
        self._number = 0
        self._session = ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("id") == self._number:
                assert "error" not in got, got
                return dict(got["result"])

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + 60
        while b"\0" not in self._rest:
            assert time.monotonic() < end, "the browser does not answer"
            if select.select([self._read], [], [], 1)[0]:
                self._rest += os.read(self._read, 1 << 20)
        line, _, self._rest = self._rest.partition(b"\0")
        got: dict[str, Any] = json.loads(line)
        told = got.get("params", {})
        match got.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(str(told["exceptionDetails"]))
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.errors.append(str(told["entry"]))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "assert"):
                self.errors.append(str(told["args"]))
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Page.loadEventFired":
                self._loaded = True
        return got

    def open(self, address: str) -> None:
        self._loaded = False
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._next()

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def width_at(self, width_px: int, height_px: int = 800) -> int:
        """The width that the page takes in a window, or on a phone, of this width."""
        size = {"width": width_px, "height": height_px, "mobile": width_px < 600}
        self.call("Emulation.setDeviceMetricsOverride", deviceScaleFactor=1, **size)
        return int(self.run("document.documentElement.scrollWidth"))

    def hard_to_read(self, scheme: str) -> list[str]:
        """Texts with less contrast than WCAG AA asks for, folded ones too."""
        self.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        scheme_of = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[scheme_of])
        return list(self.run(CONTRAST))

    def lost_on_paper(self) -> list[str]:
        """What does not fit on a sheet of A4, and short words broken in two; the page stays in its
        form for paper."""
        self.call("Emulation.setEmulatedMedia", media="print")
        self.width_at(672, 950)  # A4 less two margins of 16 mm, at 96 dots an inch
        outside = self.run(
            "[...document.querySelectorAll('main *')].filter(e => e.checkVisibility())"
            ".filter(e => e.getBoundingClientRect().right > 672 + 1)"
            ".map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"
        )
        return [*outside, *self.run(SPLIT_WORDS)]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:

        def take_pipe() -> None:
            # Chromium reads from 3 and writes to 4; these two may be in each other's place
            high = os.dup2(theirs_in, 60), os.dup2(theirs_out, 61)
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        process = subprocess.Popen(
            [CHROMIUM, *QUIET, f"--user-data-dir={profile}"],
            preexec_fn=take_pipe,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Browser(ours_in, ours_out)
        finally:
            process.kill()
            process.wait()
            for end in (theirs_in, theirs_out, ours_in, ours_out):
                os.close(end)
