"""Migrations of the consumers' database, run by `bridge db upgrade` (`consumers.schema`).

A new one is a file in `versions/`, named after its revision, that continues the newest one:

    '''Tables of the loyalty consumer.'''

    import sqlalchemy as sa
    from alembic import op

    from consumers.columns import KEY, UtcTime

    revision = "0013"
    down_revision = "0012"

    def upgrade() -> None:
        op.create_table("loyalty_members", sa.Column("member", KEY, primary_key=True), ...)

It spells its tables out and never imports those of a consumer: those move on, it must not. A test
compares what all migrations make with the tables that the consumers define.
There is no way back: a downgrade would drop the suppression list.
"""
