"""Writes the chart's RBAC rules from what the code declares: helm/unstick/files/*.yaml, which its ClusterRoles include.

Run by `make reference`; tests/helm/test_chart_files.py fails while the committed files are out of date.
"""

from collections.abc import Callable
from pathlib import Path

import yaml

from bot.rbac import Rule, read_rules, write_rules

CHART = Path(__file__).parents[1] / "helm" / "unstick"
FILES: dict[str, Callable[[], list[Rule]]] = {"read-rules.yaml": read_rules, "write-rules.yaml": write_rules}


def text(name: str) -> str:
    """What the file of that name in the chart has to say."""
    return "# Generated from the code by `make reference`; do not edit it by hand.\n" + yaml.safe_dump(FILES[name]())


def main() -> None:
    """Write the files anew."""
    for name in FILES:
        file = CHART / "files" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text(name))
        print(f"wrote {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")


if __name__ == "__main__":
    main()
