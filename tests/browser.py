"""A real Chromium, driven over the DevTools protocol through a pair of pipes: no driver, no port, no package.

async with chromium(tmp_path) as browser:
    page = await browser.new_page()
    await page.open("http://127.0.0.1:8000/explorer")
    await page.wait_for("document.title.includes('explorer')")
    assert page.complaints == []
"""

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1280,800",
    # Nothing but loopback can be reached, whatever a page asks for.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
# The browser reads commands from descriptor 3 and writes to 4.
_ON_PIPES = 'read=$1 write=$2; shift 2; exec "$@" 3<&"$read" 4>&"$write"'
_ANSWER_SECONDS = 30.0


class Page:
    """One tab with a profile of its own; remembers what it asked for and what it complained about."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self._session = session
        self.requests: list[str] = []
        """Address of every request, in order."""
        self.complaints: list[str] = []
        """Errors and warnings of the console, uncaught exceptions, and what the content policy refused."""
        self.statuses: dict[str, int] = {}
        """Last status of each address that answered."""
        self.headers: dict[str, dict[str, str]] = {}
        """Headers of the last answer of each address, names in lower case."""

    async def open(self, url: str) -> None:
        """Go to an address and wait until the page has loaded."""
        answer = await self.call("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        await self.wait_for("document.readyState === 'complete'")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol for this page."""
        return await self._browser.call(method, self._session, **params)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    async def wait_for(self, expression: str, seconds: float = 20.0) -> Any:
        """Wait until an expression is true and give its value; fails with what the page shows instead."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not (value := await self.evaluate(expression)):
            if asyncio.get_running_loop().time() > deadline:
                shown = await self.evaluate("document.body.innerText")
                raise AssertionError(f"never true: {expression}\ncomplaints: {self.complaints}\n{shown}")
            await asyncio.sleep(0.05)
        return value

    async def text(self, selector: str) -> str:
        """What an element shows; waits until it is there."""
        return str(await self.wait_for(f"document.querySelector({json.dumps(selector)})?.innerText"))

    async def click(self, selector: str) -> None:
        """Click an element with the mouse, where it is on the screen; waits until it is there."""
        place = await self.wait_for(
            f"""(() => {{
                const box = document.querySelector({json.dumps(selector)})?.getBoundingClientRect();
                return box?.width ? {{ x: box.x + box.width / 2, y: box.y + box.height / 2 }} : null;
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    async def write(self, selector: str, text: str) -> None:
        """Put text into a field as a keyboard would."""
        await self.click(selector)
        await self.call("Input.insertText", text=text)

    async def screenshot(self, path: Path) -> None:
        """Save what the page looks like as PNG."""
        answer = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(answer["data"]))

    def remember(self, method: str, event: dict[str, Any]) -> None:
        """Keep what an event of the protocol tells about requests and complaints."""
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(event["request"]["url"])
            case "Network.responseReceived":
                answer = event["response"]
                self.statuses[answer["url"]] = answer["status"]
                self.headers[answer["url"]] = {
                    name.lower(): value for name, value in answer["headers"].items()
                }
            case "Runtime.exceptionThrown":
                details = event["exceptionDetails"]
                self.complaints.append(details.get("exception", {}).get("description", details["text"]))
            case "Runtime.consoleAPICalled" if event["type"] in ("error", "warning", "assert"):
                parts = (str(part.get("value", part.get("description"))) for part in event["args"])
                self.complaints.append(" ".join(parts))
            case "Log.entryAdded" if event["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{event['entry']['text']} {event['entry'].get('url', '')}".strip())


class Browser:
    """A running browser."""

    def __init__(self, writer: asyncio.WriteTransport) -> None:
        self._writer = writer
        self._pages: dict[str, Page] = {}
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._sent = 0

    async def new_page(self, width: int = 1280, height: int = 800) -> Page:
        """A fresh tab that shares neither storage nor cache with any other."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.call(f"{domain}.enable")
        await page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        return page

    async def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send one command of the protocol and give its result."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        answer = self._waiting[self._sent] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps(message).encode() + b"\0")
        return await asyncio.wait_for(answer, _ANSWER_SECONDS)

    async def listen(self, reader: asyncio.StreamReader) -> None:
        """Take answers and events until the browser goes away."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                self._take(json.loads((await reader.readuntil(b"\0"))[:-1]))
        for answer in self._waiting.values():
            answer.cancel()

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            answer = self._waiting.pop(message["id"])
            if answer.cancelled():
                return
            if "error" in message:
                answer.set_exception(AssertionError(f"the browser refused: {message['error']}"))
            else:
                answer.set_result(message["result"])
        elif message.get("sessionId") in self._pages:
            self._pages[message["sessionId"]].remember(message["method"], message["params"])


@contextlib.asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """A browser with an empty profile in `folder`; gone, with every process of its own, at the end."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "no browser: install Debian's package chromium"
    commands_out, commands_in = _pipe()
    events_out, events_in = _pipe()
    process = await asyncio.create_subprocess_exec(
        "/bin/bash",
        *("-c", _ON_PIPES, "bash", str(commands_out), str(events_in)),
        *(program, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"),
        pass_fds=(commands_out, events_in),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
        start_new_session=True,
    )
    os.close(commands_out)
    os.close(events_in)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    incoming, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(events_out, "rb", buffering=0)
    )
    outgoing, _ = await loop.connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(commands_in, "wb", buffering=0)
    )
    browser = Browser(outgoing)
    listening = asyncio.create_task(browser.listen(reader))
    try:
        yield browser
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        outgoing.close()
        incoming.close()
        await listening


def _pipe() -> tuple[int, int]:
    """Both ends of a pipe, numbered well above 3 and 4, which the browser's side will take."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
