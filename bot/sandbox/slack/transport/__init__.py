"""The two ways from Slack to an app, sockets and signed HTTP, and what both do alike: one payload, one answer, retries."""
