"""Lets pip fill an environment; where that cannot be, says why in one line.

    python3 scripts/make_venv.py .venv -r requirements.txt

An environment without a mark (*.installed, left by the Makefile) is half
made or was moved: it is made anew. Kept to a syntax that every Python
reads, so that one that is too old can be told so.
"""

import glob
import os
import subprocess
import sys

ANOTHER = "name another Python, as in: PYTHON=python3.12 make book"


def what_is_missing():
    if sys.version_info < (3, 11):
        version = ".".join(str(n) for n in sys.version_info[:3])
        return (
            "The book needs Python 3.11 or newer and this is {}: {}".format(
                version, ANOTHER
            )
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return (
            "This Python has no venv module: apt-get install python3-venv "
            "(Debian, Ubuntu), or " + ANOTHER
        )
    from shutil import which

    if not which("git"):
        return "git was not found: install it (apt-get install git), then run make again"


def install(folder, arguments):
    log = os.path.join(folder, "install.log")
    python = os.path.join(folder, "bin", "python")
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
    ]
    # Two tries and not five: without a network the answer comes in seconds.
    environment = dict(
        {"PIP_RETRIES": "2", "PIP_NO_INPUT": "1"}, **os.environ
    )
    with open(log, "w") as file:
        failed = subprocess.call(
            command + arguments, env=environment, stdout=file, stderr=file
        )
    if not failed:
        return
    with open(log) as file:
        said = file.read()
    if "connection broken by" in said:
        reason = "the package index cannot be reached: check the network"
    else:
        errors = [
            line.partition("ERROR: ")[2] for line in said.splitlines()
        ]
        reason = " ".join(filter(None, errors))[-300:] or "pip failed"
    sys.exit(
        "{} is not complete, run make again: {} (pip's own words: {})".format(
            folder, reason, log
        )
    )


def main(folder, arguments):
    if not glob.glob(os.path.join(folder, "*.installed")):
        reason = what_is_missing()
        if reason:
            sys.exit(reason)
        if subprocess.call(
            [sys.executable, "-m", "venv", "--clear", folder]
        ):
            sys.exit("python -m venv failed: " + ANOTHER)
    print("Installing into {}: {}".format(folder, " ".join(arguments)))
    sys.stdout.flush()
    install(folder, arguments)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except KeyboardInterrupt:
        sys.exit("Stopped: run make again to finish")
