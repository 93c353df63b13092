"""Keep what a job's life needs: priority, pauses, since when a round or a client waits"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('priority', sa.Integer(), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('stopped_at', sa.Double(), nullable=True))
        batch_op.add_column(sa.Column('stopped_s', sa.Double(), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('paused_by', sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column('room_bytes', sa.BigInteger(), nullable=True))

    with op.batch_alter_table('rounds', schema=None) as batch_op:
        batch_op.add_column(sa.Column('aggregating_at', sa.Double(), nullable=True))
        batch_op.add_column(sa.Column('stopped_s', sa.Double(), server_default='0', nullable=False))

    with op.batch_alter_table('assignments', schema=None) as batch_op:
        batch_op.add_column(sa.Column('pending_at', sa.Double(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table('assignments', schema=None) as batch_op:
        batch_op.drop_column('pending_at')

    with op.batch_alter_table('rounds', schema=None) as batch_op:
        batch_op.drop_column('stopped_s')
        batch_op.drop_column('aggregating_at')

    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.drop_column('room_bytes')
        batch_op.drop_column('paused_by')
        batch_op.drop_column('stopped_s')
        batch_op.drop_column('stopped_at')
        batch_op.drop_column('priority')
