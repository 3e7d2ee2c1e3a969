"""Makes .venv and installs requirement files into it: the one step that needs the network.

    python3 scripts/make_venv.py requirements.txt

Kept to a syntax that every Python reads, so that one that is too old can be told so.
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
LOG = os.path.join(VENV, "install.log")
ANOTHER = "name another Python, as in: PYTHON=python3.12 make book"


def check_tools():
    if sys.version_info < (3, 11):
        sys.exit(
            "The book needs Python 3.11 or newer and this is {}.{}.{}: ".format(*sys.version_info)
            + ANOTHER
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        sys.exit(
            "This Python has no venv module: apt-get install python3-venv (Debian, Ubuntu), or "
            + ANOTHER
        )
    from shutil import which

    if not which("git"):
        sys.exit("git was not found: install it (apt-get install git), then run make again")


def stamp(requirements):
    """The file that says: this was installed completely, for the book in this folder."""
    return os.path.join(VENV, requirements + ".installed")


def is_complete(requirements):
    try:
        with open(stamp(requirements)) as file:
            return file.read().strip() == ROOT
    except EnvironmentError:
        return False


def make_environment():
    # --clear: whatever is there is half made, or was moved and has the old folder in its scripts.
    done = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", VENV],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    if done.returncode:
        words = " ".join(done.stdout.split())
        sys.exit("python -m venv failed, {}: {}".format(ANOTHER, words[-300:]))


def install(requirements):
    # Two tries and not five: without a network the answer comes in seconds.
    environment = dict({"PIP_RETRIES": "2"}, **os.environ)
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    with open(LOG, "w") as log:
        failed = subprocess.call(
            [PYTHON, "-m", "pip", "install", "--no-input", "-r", requirements],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    if failed:
        with open(LOG) as log:
            said = log.read()
        if "connection broken by" in said:
            reason = "the package index cannot be reached: check the network, then run make again"
        else:
            errors = [line.partition("ERROR: ")[2] for line in said.splitlines()]
            reason = " ".join(filter(None, errors))[-300:] or "pip failed"
        sys.exit(
            "{} was not installed: {} (pip's own words: .venv/install.log)".format(
                requirements, reason
            )
        )
    with open(stamp(requirements), "w") as file:
        file.write(ROOT + "\n")


def main(requirements):
    check_tools()
    if not is_complete("requirements.txt"):
        print("Making .venv: about 500 MB, a few minutes the first time.")
        sys.stdout.flush()
        make_environment()
    print("Installing {} into .venv.".format(requirements))
    sys.stdout.flush()
    install(requirements)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit("Stopped: run make again to finish .venv")
