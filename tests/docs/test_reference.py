"""The committed reference says what the code says."""

from tests import reference


def test_the_committed_reference_is_up_to_date() -> None:
    written = reference.FILE.read_text() if reference.FILE.is_file() else ""
    assert written == reference.text(), "docs/reference.md is out of date: run `make reference` and commit it"


def test_every_option_setting_and_guard_is_explained() -> None:
    for path, command in reference.commands():
        assert command.help, path
        for option in command.params:
            assert option.help or option.param_type_name == "argument", (path, option.name)
    rows = [line for line in reference.text().splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    assert [row for row in rows if "|  |" in row.replace("|  | `", "| - | `") and row.endswith("|  |")] == []


def test_no_rule_of_the_reading_identity_writes_or_sees_secrets() -> None:
    for rule in reference.read_rules():
        assert set(rule["verbs"]) <= {"get", "list", "watch"}
        assert "secrets" not in rule["resources"]
    assert all("secrets" not in rule["resources"] and "*" not in rule["resources"] for rule in reference.write_rules())
