"""Runs the revisions against the database that `api.db.migrate` was asked for."""

from __future__ import annotations

from alembic import context

from api.db.session import engine_of
from api.db.tables import Table


def run() -> None:
    """Online only: there is always a database to talk to."""
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None
    with engine_of(url).connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Table.metadata,
            render_as_batch=True,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


run()
