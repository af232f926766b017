"""How a runbook's YAML is read and judged: places, short forms, wording, rules, releases."""
