"""scripts/run_notebooks.py: one normal form, and no notebook that fails."""

import json

import pytest
from oracles import script
from stored import code, markdown, notebook, read, stream

runner = script("run_notebooks")
ADDRESS = "https://github.com/example/fork"


@pytest.fixture
def store(tmp_path):
    """Store a notebook of these cells, with what editors leave in it."""

    def stored(*cells):
        path = tmp_path / "x.ipynb"
        nb = notebook(*cells)
        nb["nbformat_minor"] = 4  # of before cells had ids
        nb["metadata"]["widgets"] = {"x": 1}
        nb["metadata"]["mystnb"] = {"execution_mode": "force"}
        path.write_text(json.dumps(nb), encoding="utf-8")
        return path

    return stored


def normalised(path, address=None):
    nb = runner.read(path)
    runner.set_install_cell(nb, address)
    path.write_text(runner.normal_form(nb), encoding="utf-8")
    return read(path)


def test_normal_form_keeps_the_settings_of_the_book_alone(store):
    settings = {"tags": ["hide-input"], "mystnb": {"figure": {"name": "x"}}}
    settings |= {"live_seconds": 20}
    path = store(
        code("1", **settings, collapsed=False),
        markdown("√") | {"metadata": {"tags": []}},
    )
    with pytest.raises(
        ValueError, match="not normalised: make notebooks NB="
    ):
        runner.check(path)
    nb = normalised(path)
    runner.check(path)
    assert nb["metadata"]["mystnb"] == {"execution_mode": "force"}
    assert set(nb["metadata"]) == {"kernelspec", "language_info", "mystnb"}
    assert [cell["metadata"] for cell in nb["cells"]] == [settings, {}]
    assert path.read_text(encoding="utf-8").count("√") == 1


def test_each_cell_has_an_id_of_its_own(store):
    cells = [markdown("a"), markdown("b"), code("c")]
    del cells[2]["id"]
    with pytest.warns(Warning, match="id"):
        ids = [cell["id"] for cell in normalised(store(*cells))["cells"]]
    assert ids[0] == "text" and len(set(ids)) == 3


def test_install_cell(store):
    path = store(code("old", tags=["colab-install"]), code("pass", count=2))
    cells = [normalised(path, to)["cells"] for to in (None, ADDRESS, None)]
    first = ["".join(c[0]["source"]).splitlines() for c in cells]
    assert first[0][3].strip() == "raise RuntimeError("
    assert first[1][3].strip() == f"%pip install --quiet git+{ADDRESS}"
    assert first[2] == first[1]
    assert [c[1]["source"] for c in cells] == [["pass"]] * 3
    stored = path.read_text(encoding="utf-8")
    path.write_text(stored.replace("--quiet", "-q"), encoding="utf-8")
    with pytest.raises(ValueError, match="not normalised"):
        runner.check(path)
    untagged = store(code("old"))
    assert normalised(untagged, ADDRESS)["cells"][0]["source"] == ["old"]


def test_run_stores_what_was_printed_and_no_time(store):
    source = """import os
for name in os.listdir():
    print("in", flush=True)
    print(name, flush=True)"""
    path = store(code("old", tags=["colab-install"]), code(source, count=7))
    assert runner.run(path, ADDRESS)
    install, cell = read(path)["cells"]
    assert ADDRESS in "".join(install["source"])
    assert cell["execution_count"] == 2 and cell["metadata"] == {}
    assert cell["outputs"] == [stream(["in\n", "x.ipynb\n"])]
    runner.check(path)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import sys; print(1, file=sys.stderr)", "stderr"),
    ],
)
def test_a_failing_notebook_is_left_as_it_was(
    store, monkeypatch, capsys, source, reason
):
    path = store(code(source))
    before = path.read_text(encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["run_notebooks.py", str(path)])
    assert runner.main()
    assert reason in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == before
