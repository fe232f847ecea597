"""Where the repository's address comes from, and what follows from it."""

import pytest

from tools import repository

URL = "https://github.com/ann/course"


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in ("MODARCH_REPOSITORY", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)


def config(tmp_path, url):
    path = tmp_path / "_config.yml"
    path.write_text(f"repository:\n  url: {url}\n", "utf-8")
    return path


def test_the_environment_wins_over_the_file_for_the_site_alone(tmp_path, monkeypatch):
    file = config(tmp_path, "https://a.b/in/file")
    assert repository.address(file) == "https://a.b/in/file"
    monkeypatch.setenv("GITHUB_REPOSITORY", "ann/course")
    assert repository.address(file) == "https://a.b/in/file"
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    assert repository.address(file) == URL
    monkeypatch.setenv("MODARCH_REPOSITORY", "https://a.b/my/fork.git")
    assert repository.address(file) == "https://a.b/my/fork"


@pytest.mark.parametrize(
    ("written", "url"), [("''", ""), ("", ""), (f"{URL}/", URL), (f"'{URL} '", URL)]
)
def test_the_file_may_be_empty(tmp_path, written, url):
    assert repository.committed(config(tmp_path, written)) == url


@pytest.mark.parametrize("text", ["title: a course\n", "repository:\n"])
def test_a_file_without_the_key_has_none(tmp_path, text):
    path = tmp_path / "_config.yml"
    path.write_text(text, "utf-8")
    assert repository.committed(path) == ""


@pytest.mark.parametrize(
    "url",
    [
        "ann/course",
        "git@github.com:ann/course",
        "https://github.com",
        "https://ann:secret@github.com/ann/course",
        "https://www.github.com/ann/course",
        "https://GitHub.com/ann/course",
        "https://github.com//course",
        f"{URL}/tree/main",
        f"{URL}#readme",
        "https://[bad/ann/course",
        "3",
    ],
)
def test_what_is_no_web_address_is_refused(tmp_path, url):
    with pytest.raises(ValueError, match="should look like https://github.com/OWNER/NAME"):
        repository.committed(config(tmp_path, url))


def test_services_read_from_github_alone():
    assert list(repository.services(URL, "a.ipynb")) == ["Colab", "Kaggle", "Binder"]
    assert repository.services("https://gitlab.com/ann/course", "a.ipynb") == {}
    assert repository.services("", "a.ipynb") == {}


@pytest.mark.parametrize(
    "page", ["notebooks/02_convnext", "notebooks/exercises/ex1_convnext_block", "book/instructors"]
)
def test_the_file_to_edit_is_a_source(page):
    source = repository.CONFIG.parent / repository.source(page)
    assert source.is_file() and source.suffix in (".py", ".md")
