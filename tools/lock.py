"""Print the exact set of packages that the project needs, as installed here: ``make lock``.

Only what pyproject.toml leads to is listed, whatever else the environment holds.
"""

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# torch asks for these on Linux only; elsewhere PyPI's torch comes without CUDA.
LINUX_ONLY = ("cuda-", "nvidia-", "triton")


def declared() -> list[Requirement]:
    """Return pyproject.toml's requirements, those of the ``dev`` extra included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    return [Requirement(line) for line in lines]


def closure(requirements: list[Requirement]) -> dict[str, str]:
    """Return ``{name: installed version}`` of the requirements and all that they require.

    Raises:
        importlib.metadata.PackageNotFoundError: a required package is not installed.
    """
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    queue = list(requirements)
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        distribution = metadata.distribution(requirement.name)
        pins[name] = distribution.version
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            environment = default_environment() | {"extra": extra}
            for line in distribution.requires or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate(environment):
                    queue.append(needed)
    return pins


def main() -> None:
    print("# Exact versions that CI installs, on Python 3.11. Written by `make lock`.")
    for name, version in sorted(closure(declared()).items()):
        marker = ' ; sys_platform == "linux"' if name.startswith(LINUX_ONLY) else ""
        # A local suffix such as +cpu names a build that other indexes lack.
        print(f"{name}=={version.split('+')[0]}{marker}")


if __name__ == "__main__":
    main()
