"""The bot's own HTTP server: health, metrics, Alertmanager's webhook, and Slack where it does not come by a socket."""
