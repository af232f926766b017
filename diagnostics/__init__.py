"""What is wrong, and why. Reads only; knows neither Slack nor the runbook engine."""
