"""Unstick in Slack. Here alone Slack is known: what is typed and clicked comes in, what people see goes out.

`commands` reads what was typed, `clicks` what was clicked; `desk` does what they ask for and writes what people are to
see into the store; `blocks` renders it, purely; `delivery` brings it to Slack, and `connection` holds the socket.
"""
