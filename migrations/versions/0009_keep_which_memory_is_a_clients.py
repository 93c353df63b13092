"""Keep which memory is a client's: that of its last accepted update, by round and digest"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('clients', schema=None) as batch_op:
        batch_op.add_column(sa.Column('memory_round', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('memory_sha256', sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table('clients', schema=None) as batch_op:
        batch_op.drop_column('memory_sha256')
        batch_op.drop_column('memory_round')
