"""What can be said of the chart without a Helm engine: its files agree with the code and with each other."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from bot.settings import Settings
from tests import chart_rules
from tests.chart_rules import CHART

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# What the chart passes on as it is, so that neither its schema nor its table knows the inside.
OPAQUE = {"config", "runbooks", "resources", "nodeSelector", "annotations", "serviceMonitorLabels"}


@pytest.mark.parametrize("name", chart_rules.FILES)
def test_the_committed_rules_are_up_to_date(name: str) -> None:
    file = CHART / "files" / name
    written = file.read_text() if file.is_file() else ""
    assert written == chart_rules.text(name), f"{file.name} is out of date: run `make reference` and commit it"


def test_the_chart_is_of_the_version_of_the_package() -> None:
    project = tomllib.loads((CHART.parents[1] / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["name"], chart["appVersion"]) == (project["name"], project["version"])


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and key not in OPAQUE:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield path + key


def described(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, inner in schema["properties"].items():
        if "properties" in inner and key not in OPAQUE:
            assert inner["additionalProperties"] is False, f"{path}{key} lets typos through"
            yield from described(inner, f"{path}{key}.")
        else:
            yield path + key


def test_the_schema_knows_each_value_and_no_other() -> None:
    assert SCHEMA["additionalProperties"] is False
    assert sorted(described(SCHEMA)) == sorted([*leaves(VALUES), "global"])


def names(schema: dict[str, Any], definitions: dict[str, Any], path: str = "") -> Iterator[str]:
    """The names that an object may hold, at all depths; `*` is a name of one's own."""
    for option in (schema, *schema.get("anyOf", ())):
        found = definitions[option["$ref"].rsplit("/", 1)[1]] if "$ref" in option else option
        free = found.get("additionalProperties")
        assert free is False or "properties" not in found, f"{path} lets typos through"
        if isinstance(free, dict):
            yield from names(free, definitions, f"{path}*.")
        for key, inner in found.get("properties", {}).items():
            yield path + key
            yield from names(inner, definitions, f"{path}{key}.")


def test_the_schema_knows_each_name_that_the_configuration_may_hold_and_no_other() -> None:
    known = Settings.model_json_schema()
    ours = sorted(names(SCHEMA["definitions"]["config"], SCHEMA["definitions"]))
    assert ours == sorted(names(known, known["$defs"]))
    assert {"people.*.roles", "clusters.*.kubernetes.context", "schedules.*.cron", "leader.lasts"} <= {*ours}


def test_the_readme_lists_each_value_and_its_default() -> None:
    table = re.findall(r"^\| `([\w.]+)` \| (.*?) \|", (CHART.parent / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in table) == sorted(leaves(VALUES))
    for name, default in table:
        value: Any = VALUES
        for key in name.split("."):
            value = value[key]
        if name not in OPAQUE:
            assert default == (f"`{json.dumps(value).strip(chr(34))}`" if value not in ("", []) else ""), name


def test_no_template_makes_a_secret_or_leaves_a_tag_to_chance() -> None:
    texts = [path.read_text() for path in sorted((CHART / "templates").iterdir())]
    assert len(texts) >= 11
    for text in texts:
        assert not re.search(r"kind: Secret\b|stringData|b64enc|lookup|:latest", text)
