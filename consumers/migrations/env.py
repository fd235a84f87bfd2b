"""Runs the migrations on the connection, and in the transaction, of `consumers.schema.upgrade`."""

from alembic import context

from consumers.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
