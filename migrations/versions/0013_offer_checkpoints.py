"""Offer checkpoints to clients that lack much of a journal"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('rounds', sa.Column('checkpoint_digest', sa.String(length=64), nullable=True))
    op.add_column('rounds', sa.Column('checkpoint_size', sa.BigInteger(), nullable=True))
    op.create_index(op.f('ix_rounds_checkpoint_digest'), 'rounds', ['checkpoint_digest'], unique=False)
    op.add_column('assignments', sa.Column('checkpoint_round', sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column('assignments', 'checkpoint_round')
    op.drop_index(op.f('ix_rounds_checkpoint_digest'), table_name='rounds')
    op.drop_column('rounds', 'checkpoint_size')
    op.drop_column('rounds', 'checkpoint_digest')
