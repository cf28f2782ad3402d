from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import plait

HEAVY = ("torch", "numpy", "pyarrow", "sklearn", "pandas", "transformers", "matplotlib", "PIL")


def loaded(code: str) -> set[str]:
    """Which heavy packages a new interpreter has imported after running some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('\\n' + ' '.join(m for m in {HEAVY} if m in sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_plait_imports_nothing_heavy():
    assert loaded("import plait; dir(plait); plait.__version__; plait.fit; plait.load; plait.PlaitError") == set()


def test_help_imports_nothing_heavy():
    code = (
        "sys.argv = ['plait', '--help']\nfrom plait.cli import main\ntry:\n    main()\nexcept SystemExit:\n    print()"
    )
    assert loaded(code) == set()


def test_a_name_brings_what_it_needs():
    assert "torch" in loaded("import plait; plait.Model")


@pytest.mark.parametrize("name", plait.__all__)
def test_every_public_name_is_there_and_stays(name):
    assert getattr(plait, name) is getattr(plait, name)
    assert name in dir(plait)


def test_type_checkers_see_every_lazy_name():
    tree = ast.parse(Path(plait.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("plait")
        for alias in node.names
    }
    assert seen == {("plait", "measures"), *((module, name) for name, module in plait._HOME.items())}
    assert set(plait.__all__) == {*plait._HOME, "fit", "load", "measures", "__version__"}


MEASURES = sorted(
    path.relative_to(Path(plait.__file__).parent / "measures").with_suffix("")
    for path in (Path(plait.__file__).parent / "measures").glob("*/[a-z]*.py")
)


@pytest.mark.parametrize("path", MEASURES, ids=str)
def test_every_measure_is_a_function_of_its_file_s_name_on_arrays_alone(path):
    found = getattr(plait.measures, path.name)
    assert callable(found)
    assert found.__module__ == f"plait.measures.{'.'.join(path.parts)}"
    assert path.name in dir(plait.measures)
    assert found.__doc__


def test_measures_bring_no_torch():
    names = ", ".join(f"plait.measures.{path.name}" for path in MEASURES)
    assert "torch" not in loaded(f"import plait; {names}")


def test_type_checkers_see_every_measure():
    tree = ast.parse(Path(plait.measures.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {f"{node.module}".split(".")[-1] for node in block.body if isinstance(node, ast.ImportFrom)}
    assert seen == {path.name for path in MEASURES}


def test_the_version_is_the_package_s():
    assert plait.__version__ == version("plait")


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = plait.fitt


def test_fit_gives_a_model_that_can_be_saved_and_loaded(tmp_path):
    table = {"x": [float(i) for i in range(30)], "y": ["low" if i < 15 else "high" for i in range(30)]}
    model = plait.fit(table, target="y", settings=["training.epochs=1", "width=8"], cache=tmp_path / "cache")
    again = plait.load(model.save(tmp_path / "model"))
    assert (again.predict({"x": 3.0}) == model.predict({"x": 3.0})).all()
    assert isinstance(model, plait.Model)
