"""Keep what a server's optimizer remembers: the digest of its blob, beside that of the state"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('rounds', schema=None) as batch_op:
        batch_op.add_column(sa.Column('server_digest', sa.String(length=64), nullable=True))
        batch_op.create_index(
            batch_op.f('ix_rounds_server_digest'), ['server_digest'], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table('rounds', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_rounds_server_digest'))
        batch_op.drop_column('server_digest')
