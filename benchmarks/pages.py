"""What Lighthouse says of four pages of the built book, on a phone and on a desktop."""

import gzip
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import FLAGS, HTML, QuietHandler, installed, serve

LIGHTHOUSE = (
    Path(__file__).with_name("node_modules") / "lighthouse/cli/index.js"
)
# The first page, the two with most formulas and pictures, and the longest.
PAGES = (
    "book/index.html",
    "book/06-scaling.html",
    "book/11-trained-model.html",
    "book/real-code.html",
)
RUNS = 3  # and their median
# Lowest scores, and the largest layout shift.
TARGETS = {
    "phone": {"performance": 0.95},
    "desktop": {"performance": 0.98},
}
ALWAYS = {"accessibility": 1.0, "best-practices": 1.0, "seo": 1.0}
SHIFT = 0.05


@cache
def packed(path: str) -> bytes:
    return gzip.compress(Path(path).read_bytes(), 9)


class GzipHandler(QuietHandler):
    """Files as a public server sends them: text is packed."""

    def do_GET(self):
        path = self.translate_path(self.path)
        kind = self.guess_type(path)
        if not Path(path).is_file() or not kind.startswith(
            ("text/", "application/json", "image/svg")
        ):
            return super().do_GET()
        body = packed(path)
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def look(address, device):
    """Scores, layout shift and the audits that found something, of one load."""
    command = [
        str(Path(sys.executable).with_name("node")),
        LIGHTHOUSE,
        address,
        "--quiet",
        "--output=json",
        "--no-enable-error-reporting",
        f"--chrome-flags={' '.join(['--headless=new', *FLAGS])}",
        *(["--preset=desktop"] if device == "desktop" else []),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={"CHROME_PATH": installed(), "PATH": "/usr/bin:/bin"},
    )
    if done.returncode:
        raise SystemExit(f"Lighthouse failed at {address}:\n{done.stderr}")
    report = json.loads(done.stdout)
    audits = report["audits"]
    found = {
        f"{reference['id']}: {audits[reference['id']]['title']}"
        for name in ALWAYS
        for reference in report["categories"][name]["auditRefs"]
        if reference["weight"] and audits[reference["id"]]["score"] == 0
    }
    scores = {k: c["score"] for k, c in report["categories"].items()}
    return (
        scores,
        audits["cumulative-layout-shift"]["numericValue"],
        audits["largest-contentful-paint"]["numericValue"],
        found,
    )


def main():
    if not LIGHTHOUSE.exists():
        raise SystemExit(
            "Lighthouse is not installed: `make bench` installs it"
        )
    if not all((HTML / page).exists() for page in PAGES):
        raise SystemExit("there is no built book: run `make book` first")
    missed = []
    print(
        f"{'page':28s} {'device':8s} performance accessibility best practices  "
        "SEO  shift  largest paint"
    )
    with serve(HTML, GzipHandler) as site:
        for page in PAGES:
            for device, targets in TARGETS.items():
                looks = [
                    look(f"{site}/{page}", device) for _ in range(RUNS)
                ]
                scores = {
                    name: median(scores[name] for scores, *_ in looks)
                    for name in ("performance", *ALWAYS)
                }
                shift = median(shift for _, shift, _, _ in looks)
                paint = median(paint for _, _, paint, _ in looks)
                print(
                    f"{page:28s} {device:8s} {scores['performance']:11.2f} "
                    f"{scores['accessibility']:13.2f} {scores['best-practices']:14.2f} "
                    f"{scores['seo']:4.2f}  {shift:.3f}  {paint / 1000:.1f} s",
                    flush=True,
                )
                missed += [
                    f"{page}, {device}: {name} {scores[name]:.2f} < {lowest:.2f}"
                    for name, lowest in {**targets, **ALWAYS}.items()
                    if scores[name] < lowest
                ]
                if shift > SHIFT:
                    missed.append(
                        f"{page}, {device}: layout shift {shift:.3f} > {SHIFT}"
                    )
                missed += sorted(
                    set().union(*(found for *_, found in looks))
                )
    if missed:
        raise SystemExit("\n".join(["below the targets:", *missed]))


if __name__ == "__main__":
    main()
