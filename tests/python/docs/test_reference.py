"""The reference in docs/ has every public name, and no other."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import re

import kvstore
import kvstore.contrib
import kvstore.monitor
import kvstore.survey
import kvstore.testing

ROOT = pathlib.Path(__file__).parents[3]
PAGES = ROOT / "docs" / "reference"


def test_every_public_name_is_in_the_reference_once() -> None:
    found = sorted(
        name
        for page in PAGES.glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
    )
    contrib = pathlib.Path(inspect.getfile(kvstore.contrib)).parent
    expected = [f"kvstore.{name}" for name in kvstore.__all__ if name != "__version__"]
    expected += [f"kvstore.testing.{name}" for name in kvstore.testing.__all__]
    expected += [f"kvstore.contrib.{file.stem}" for file in contrib.glob("[a-z]*.py")]
    for module in (kvstore.survey, kvstore.monitor):
        expected += [f"{module.__name__}.{name}" for name in module.__all__]
    expected.append("pytest_kvstore.plugin")
    assert found == sorted(expected)


def test_every_class_and_function_says_what_it_is() -> None:
    for module in ("kvstore", "kvstore.aio", "kvstore.monitor", "kvstore.survey", "kvstore.testing"):
        public = importlib.import_module(module)
        for name in public.__all__:
            value = getattr(public, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert (value.__doc__ or "").strip(), name


def test_every_page_is_in_the_navigation() -> None:
    """The build of the site says the same, but not every Python can run that."""
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    named = re.findall(r"([\w./-]+\.md)$", navigation, re.MULTILINE)
    docs = ROOT / "docs"
    assert sorted(named) == sorted(str(page.relative_to(docs)) for page in docs.rglob("*.md"))


def test_links_of_the_readme_lead_somewhere() -> None:
    """The site has its own check; this file is no part of it."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text("utf-8"))
    assert len(links) > 20
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
