"""Replicas of the bot on one database, each a process of its own: replicas.py CONFIG FOLDER.

Each line on its standard input is the kubeconfig of one more, which is made by fork, and whose pid is a line on the
standard output. Its schedules are those of `FAST`. In the transaction of every write of a leader, its token is noted in
the table `proof`, so that the order of the tokens is the order of the writes. Tokens of Slack come by the environment.
"""

import asyncio
import os
import select
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401 - each fork would need a second for it
from sqlalchemy import Connection, text

import bot.cli.serve  # noqa: F401
from bot import settings as configuration
from bot import wiring
from bot.leader import Elector
from bot.lease import lease_of
from bot.logs import log_to_stderr
from bot.serve import Server, Tokens
from bot.settings import ScheduleSettings, Settings
from bot.store import State, open_state
from bot.store.leaders import Leaders, Leadership
from bot.store.replicas import Pulse

EVERY, SCHEDULES = timedelta(seconds=10), 10
TABLE = "CREATE TABLE proof (id serial PRIMARY KEY, token integer NOT NULL, at timestamptz NOT NULL)"


class Noting(Leaders):
    """The same, and each write of a leader leaves its token, if it stands."""

    def insist(self, connection: Connection, leadership: Leadership) -> None:
        super().insist(connection, leadership)
        noted = "INSERT INTO proof (token, at) VALUES (:token, clock_timestamp())"
        connection.execute(text(noted), {"token": leadership.token})


def fast(settings: Settings, kubeconfig: str) -> Settings:
    """The configuration with schedules faster than anybody may write, and another way to the API server."""
    channels = settings.slack.channels
    schedules = {
        f"s{number}": ScheduleSettings.model_construct(
            every=EVERY, channel=channels[number], checks=("pods/stuck_terminating",)
        )
        for number in range(SCHEDULES)
    }
    assert settings.leader is not None
    leader, lab = settings.leader.model_copy(update={"kubeconfig": kubeconfig}), settings.clusters["lab"]
    assert lab.kubernetes is not None
    lab = lab.model_copy(update={"kubernetes": lab.kubernetes.model_copy(update={"kubeconfig": kubeconfig})})
    return settings.model_copy(update={"schedules": schedules, "leader": leader, "clusters": {"lab": lab}})


async def serve(settings: Settings, state: State) -> None:
    """Serve as `unstick serve` does, as a replica that is called after its process."""
    assert settings.leader is not None
    tokens = Tokens(os.environ["SLACK_BOT_TOKEN"], os.environ["SLACK_APP_TOKEN"])
    pulse = Pulse(state.replicas, alone=False, replica=f"pid-{os.getpid()}")
    async with lease_of(settings.leader) as lease:
        elector = Elector(lease, state.leaders, pulse.id, settings.leader.lasts)
        server = Server(
            settings, state, lambda cluster: wiring.target(settings, cluster), tokens, pulse=pulse, election=elector
        )
        server.stop_on_signals()
        await server.run()


def replica(config: str, folder: Path, kubeconfig: str) -> None:
    """One process' life."""
    with (folder / f"replica-{os.getpid()}.log").open("w") as log:
        os.dup2(log.fileno(), 2)
    log_to_stderr()
    settings = fast(configuration.load(config), kubeconfig)
    state = open_state(settings.state_url)
    asyncio.run(serve(settings, replace(state, leaders=Noting(state.leaders.engine, state.leaders.now))))


def main() -> None:
    """Make replicas until there is no input any more."""
    config, folder = sys.argv[1], Path(sys.argv[2])
    print("ready", flush=True)
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not select.select([sys.stdin], [], [], 0.02)[0]:
            continue
        kubeconfig = sys.stdin.readline().strip()
        if not kubeconfig:
            return
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                replica(config, folder, kubeconfig)
                code = 0
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is this process's end
                sys.stderr.write(f"ended by {error!r}\n")
            os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
