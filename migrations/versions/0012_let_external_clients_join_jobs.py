"""Let external clients join jobs: their places, refusals, hold-outs and offences"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None

_COLUMNS = {
    'jobs': [sa.Column('labels', sa.JSON(none_as_null=True), nullable=True)],
    'clients': [
        sa.Column('external', sa.String(length=32), nullable=True),
        sa.Column('joined_at', sa.Double(), nullable=True),
    ],
    'assignments': [sa.Column('holdout', sa.JSON(), server_default='{}', nullable=False)],
    'externals': [
        sa.Column('status', sa.String(length=200), nullable=True),
        sa.Column('offences', sa.Integer(), server_default='0', nullable=False),
        sa.Column('quarantined_at', sa.Double(), nullable=True),
        sa.Column('offence', sa.Text(), nullable=True),
    ],
}


def upgrade() -> None:
    # not as batches that copy: other tables refer to these
    for table, columns in _COLUMNS.items():
        for column in columns:
            op.add_column(table, sa.Column(column.name, column.type, server_default=column.server_default, nullable=column.nullable))
    op.create_index(op.f('ix_clients_external'), 'clients', ['external'], unique=False)
    op.create_table('refusals',
    sa.Column('job_id', sa.String(length=32), nullable=False),
    sa.Column('external', sa.String(length=32), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('at', sa.Double(), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_refusals_job_id')),
    sa.PrimaryKeyConstraint('job_id', 'external', name=op.f('pk_refusals'))
    )


def downgrade() -> None:
    op.drop_table('refusals')
    op.drop_index(op.f('ix_clients_external'), table_name='clients')
    for table, columns in _COLUMNS.items():
        for column in columns:
            op.drop_column(table, column.name)
