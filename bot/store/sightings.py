"""Keeps the first look at each quiet lock, so that a later look can complete it."""

import msgspec
from sqlalchemy import JSON, Column, Engine, MetaData, String, Table, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from diagnostics.facts.ceph import Sighting
from runbooks.store import StoreError

metadata = MetaData()
sightings = Table(
    "sightings", metadata,
    Column("cluster", String(253), primary_key=True),
    Column("fsid", String(64), primary_key=True),
    Column("image", String(512), primary_key=True),
    Column("locker", String(512), primary_key=True),
    Column("sighting", JSON, nullable=False),
)  # fmt: skip


class Sightings:
    """The sightings of all clusters. Methods block: call them in threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(self, cluster: str) -> tuple[Sighting, ...]:
        """The sightings of one cluster.

        Raises:
            StoreError: the database cannot be read.
        """
        try:
            with self._engine.connect() as connection:
                found = connection.execute(select(sightings.c.sighting).where(sightings.c.cluster == cluster)).all()
        except SQLAlchemyError as error:
            raise StoreError(f"Earlier looks cannot be read: {error.args[0]}.") from None
        return tuple(msgspec.convert(row.sighting, Sighting) for row in found)

    def keep(self, cluster: str, seen: tuple[Sighting, ...]) -> None:
        """Replace the sightings of one cluster.

        Raises:
            StoreError: the database cannot be written.
        """
        rows = {(s.fsid, s.image, s.locker): msgspec.to_builtins(s) for s in seen}
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(sightings).where(sightings.c.cluster == cluster))
                for (fsid, image, locker), row in rows.items():
                    connection.execute(
                        insert(sightings).values(cluster=cluster, fsid=fsid, image=image, locker=locker, sighting=row)
                    )
        except SQLAlchemyError as error:
            raise StoreError(f"This look cannot be kept: {error.args[0]}.") from None
