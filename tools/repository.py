"""The repository's address: the one place that knows it, and what follows from it.

``_config.yml`` holds it (``repository.url``; empty where there is none). What is committed follows
the file alone. The site follows the environment first, so that a fork's workflow needs no edit:
``MODARCH_REPOSITORY``, else ``GITHUB_SERVER_URL`` and ``GITHUB_REPOSITORY``, which GitHub sets.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

import yaml

# No name or password, no page within the repository.
ADDRESS = re.compile(
    r"https://(github\.com(/[\w.-]+){2}|(?!(www\.)?github\.)[a-z\d.:-]+(/[\w.-]+){2,})"
)
CONFIG = Path(__file__).resolve().parents[1] / "_config.yml"
BRANCH = "main"


def committed(config: Path = CONFIG) -> str:
    """Return the address in ``_config.yml``, or ``""``.

    Raises:
        ValueError: it is no web address.
    """
    settings = yaml.safe_load(config.read_text("utf-8")).get("repository") or {}
    return _checked(settings.get("url"), config.name)


def address(config: Path = CONFIG) -> str:
    """Return the environment's address, else the file's, or ``""``.

    Raises:
        ValueError: it is no web address.
    """
    if url := os.environ.get("MODARCH_REPOSITORY", ""):
        return _checked(url, "MODARCH_REPOSITORY")
    server, name = (os.environ.get(f"GITHUB_{key}", "") for key in ("SERVER_URL", "REPOSITORY"))
    if server and name:
        return _checked(f"{server}/{name}", "GITHUB_SERVER_URL")
    return committed(config)


def _checked(url: str, where: str) -> str:
    url = str(url or "").strip().rstrip("/").removesuffix(".git")
    if url and not ADDRESS.fullmatch(url):
        raise ValueError(f"{where}: {url!r} should look like https://github.com/OWNER/NAME.")
    return url


def services(url: str, path: str) -> dict[str, str]:
    """Return where the notebook ``path`` can be run without installing: ``{name: link}``.

    The services read from github.com alone; for another address there are none.
    """
    if urlsplit(url).netloc != "github.com":
        return {}
    name, file = urlsplit(url).path.strip("/"), quote(path)
    return {
        "Colab": f"https://colab.research.google.com/github/{name}/blob/{BRANCH}/{file}",
        "Kaggle": f"https://kaggle.com/kernels/welcome?src={url}/blob/{BRANCH}/{file}",
        "Binder": f"https://mybinder.org/v2/gh/{name}/{BRANCH}?labpath={quote(path, safe='')}",
    }


def source(page: str) -> str:
    """Return the file that people edit for a page of the site, ``page`` without a suffix."""
    folder, _, name = page.rpartition("/")
    folders = {"notebooks": "notebooks/source", "notebooks/exercises": "solutions/source"}
    return f"{folders[folder]}/{name}.py" if folder in folders else f"{page}.md"
