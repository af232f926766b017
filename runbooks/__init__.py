"""What to do about a finding: versioned runbooks, guards, and the engine. Knows no Slack."""
