"""Runs the cells of a page as Jupyter runs them, and hands on what they show."""

import base64
import io
import json
import logging
import os
import sys
import time

os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"

import tqdm
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from js import language, send  # live_worker.js
from printed import printed_lines, shown

words, phrases = json.loads(language)

tqdm.tqdm.monitor_interval = (
    0  # it would be a thread, which a browser has not
)
logging.getLogger("matplotlib.font_manager").setLevel(
    logging.ERROR
)  # says that it works


class Stream(io.TextIOBase):
    """What is printed goes out in pieces, so that much of it does not flood the page."""

    def __init__(self, name):
        self.name, self.kept, self.sent = name, "", 0.0

    def write(self, text):
        self.kept += text
        if time.monotonic() > self.sent + 0.1:
            self.flush()
        return len(text)

    def flush(self):
        if self.kept:
            text = printed_lines(self.kept, words) if words else self.kept
            send(json.dumps({"stream": self.name, "text": text}))
        self.kept, self.sent = "", time.monotonic()


def flush():
    sys.stdout.flush()
    sys.stderr.flush()


def show(data):
    flush()
    for kind in {"text/html", "text/markdown"} & set(words and data):
        data = data | {kind: shown(data[kind], words, phrases)}
    send(
        json.dumps(
            {"data": data}, default=lambda b: base64.b64encode(b).decode()
        )
    )


class Publisher(DisplayPublisher):
    def publish(self, data, *_, **__):
        show(data)


class Hook(DisplayHook):
    def write_output_prompt(self):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        show(format_dict)


class Shell(InteractiveShell):
    def _showtraceback(self, etype, evalue, stb):
        show({"traceback": "\n".join(stb)})


shell = Shell.instance(
    displayhook_class=Hook,
    display_pub_class=Publisher,
    colors="NoColor",
    xmode="Plain",
)
shell.history_manager.enabled = False


def run(code, fresh):
    """Run a cell, in a fresh Python if asked; whether it came to its end."""
    if fresh:
        shell.reset()
    sys.stdout, sys.stderr = Stream("stdout"), Stream("stderr")
    result = shell.run_cell(code, store_history=True)
    flush()
    return result.success
