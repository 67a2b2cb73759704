"""Walks through pages in a real Chromium, headless, and prints after each step what a person would see, as JSON.

usage: browse.py FOLDER STEP...
  FOLDER gets downloads and screenshots. A step is one argument:
  open URL         goes to a page
  prefetch URL     opens another page that has the browser prefetch and prerender this one, as a mail reader might
  reload           loads the page again (a form that was sent is sent again)
  back             goes back in the history
  press            clicks the page's only button with the mouse
  press-by-key     reaches that button with the tab key, and presses enter
  javascript off   from here on pages run no scripts
  screenshot NAME  takes a picture
  wait-for-file F  makes the file "waiting" in FOLDER, and waits until there is a file F

Prints one line for each step: the step, title, language, visible text, the buttons' names as a screen reader has them,
and the names of the files that were downloaded by it. Talks the DevTools protocol over a WebSocket; nothing else of the
browser is asked.
"""

import asyncio
import base64
import json
import pathlib
import shutil
import sys
import tempfile

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_SECONDS = 30
SIGHT = """JSON.stringify({title: document.title, lang: document.documentElement.lang,
  text: document.body ? document.body.innerText : "", url: location.href})"""


def asyncio_timeout():
    if hasattr(asyncio, "timeout"):
        return asyncio.timeout(PATIENCE_SECONDS)
    # Python 3.10 has none; aiohttp brings this one there.
    return __import__("async_timeout").timeout(PATIENCE_SECONDS)


class Browser:
    """One tab of a browser, by the DevTools protocol."""

    def __init__(self, socket):
        self.socket, self.numbers = socket, 0
        self.answers, self.events, self.session = {}, [], None
        self.news = asyncio.Condition()

    async def listen(self):
        """Sorts what comes in: answers to their calls, events in order."""
        async for message in self.socket:
            message = json.loads(message.data)
            if "id" in message:
                self.answers[message["id"]].set_result(message)
            else:
                async with self.news:
                    self.events.append((message["method"], message["params"]))
                    self.news.notify_all()

    async def call(self, method, **params):
        """Calls a method of the tab, or of the browser as long as there is no tab."""
        self.numbers += 1
        number, answer = self.numbers, asyncio.get_running_loop().create_future()
        self.answers[number] = answer
        session = {} if self.session is None else {"sessionId": self.session}
        await self.socket.send_json({"id": number, "method": method, "params": params, **session})
        message = await asyncio.wait_for(answer, PATIENCE_SECONDS)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    async def event(self, since, wanted):
        """The first event after a point of time for which something holds."""

        async def find():
            async with self.news:
                while True:
                    for method, params in self.events[since:]:
                        if wanted(method, params):
                            return method, params
                    await self.news.wait()

        return await asyncio.wait_for(find(), PATIENCE_SECONDS)

    async def evaluate(self, expression):
        result = await self.call("Runtime.evaluate", expression=expression)
        return result["result"].get("value")

    async def buttons(self):
        """Names of the buttons as the accessibility tree has them."""
        tree = await self.call("Accessibility.getFullAXTree")
        is_button = lambda node: node.get("role", {}).get("value") == "button" and not node.get("ignored")
        return [node.get("name", {}).get("value", "") for node in tree["nodes"] if is_button(node)]


def loaded(method, _):
    return method == "Page.loadEventFired"


def settled(method, params):
    """A press ends with a page or with a file."""
    return loaded(method, params) or (
        method == "Browser.downloadProgress" and params["state"] in ("completed", "canceled")
    )


async def step(browser, folder, name, argument):
    since = len(browser.events)
    if name == "open":
        failed = (await browser.call("Page.navigate", url=argument)).get("errorText")
        if failed:
            raise RuntimeError(f"open: {failed}")
        await browser.event(since, loaded)
    elif name == "prefetch":
        page = folder / "mail.html"
        links = "".join(f'<link rel="{rel}" href="{argument}">' for rel in ("prefetch", "prerender", "preconnect"))
        page.write_text(f"<!DOCTYPE html><html lang=en><head><title>A mail</title>{links}</head><body>x</body></html>")
        await browser.call("Page.navigate", url=page.as_uri())
        asked = lambda method, params: (
            method == "Network.responseReceived" and params["response"]["url"] == argument
        )
        await browser.event(since, asked)
    elif name == "reload":
        await browser.call("Page.reload")
        await browser.event(since, loaded)
    elif name == "back":
        history = await browser.call("Page.getNavigationHistory")
        entry = history["entries"][history["currentIndex"] - 1]
        await browser.call("Page.navigateToHistoryEntry", entryId=entry["id"])
        await browser.event(since, loaded)
    elif name == "press":
        place = await browser.evaluate(
            "JSON.stringify((b => [b.x + b.width / 2, b.y + b.height / 2])"
            "(document.querySelector('button').getBoundingClientRect()))"
        )
        x, y = json.loads(place)
        for kind in ("mousePressed", "mouseReleased"):
            await browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        await browser.event(since, settled)
    elif name == "press-by-key":
        for key, code in (("Tab", 9), ("Enter", 13)):
            text = {"text": "\r"} if key == "Enter" else {}
            await browser.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
            await browser.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)
        await browser.event(since, settled)
    elif name == "javascript":
        await browser.call("Emulation.setScriptExecutionDisabled", value=argument == "off")
    elif name == "screenshot":
        picture = await browser.call("Page.captureScreenshot", format="png")
        (folder / f"{argument}.png").write_bytes(base64.b64decode(picture["data"]))
    elif name == "wait-for-file":
        (folder / "waiting").touch()
        async with asyncio_timeout():
            while not (folder / argument).exists():
                await asyncio.sleep(0.05)
    else:
        raise SystemExit(f"there is no step {name}")
    begun = [params for method, params in browser.events[since:] if method == "Browser.downloadWillBegin"]
    seen = json.loads(await browser.evaluate(SIGHT))
    files = [params["suggestedFilename"] for params in begun]
    return {**seen, "buttons": await browser.buttons(), "files": files}


async def walk(port, path, folder, steps):
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as socket:
            browser = Browser(socket)
            listening = asyncio.create_task(browser.listen())
            await browser.call(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True
            )
            tab = (await browser.call("Target.createTarget", url="about:blank"))["targetId"]
            attached = await browser.call("Target.attachToTarget", targetId=tab, flatten=True)
            browser.session = attached["sessionId"]
            for domain in ("Page", "Network", "Accessibility"):
                await browser.call(f"{domain}.enable")
            for text in steps:
                name, _, argument = text.partition(" ")
                print(json.dumps({"step": text, **await step(browser, folder, name, argument)}), flush=True)
            listening.cancel()


async def main():
    folder, steps = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise SystemExit(f"install Chromium: none of {', '.join(NAMES)} is in the path")
    with tempfile.TemporaryDirectory(prefix="browse-", ignore_cleanup_errors=True) as home:
        process = await asyncio.create_subprocess_exec(
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--lang=en", "--window-size=900,900",
            f"--user-data-dir={home}", "--remote-debugging-port=0", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            said = pathlib.Path(home) / "DevToolsActivePort"
            async with asyncio_timeout():
                while not said.exists() or len(said.read_text().split()) < 2:
                    if process.returncode is not None:
                        raise SystemExit(f"{program} ended with {process.returncode} before it was ready")
                    await asyncio.sleep(0.05)
            port, path = said.read_text().split()[:2]
            await walk(port, path, folder, steps)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


if __name__ == "__main__":
    asyncio.run(main())
