"""Keep digests: of a job's base model, and of what a round's updates are measured from"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('jobs', sa.Column('base_sha256', sa.String(length=64), nullable=True))
    op.add_column('rounds', sa.Column('reference_digest', sa.String(length=64), nullable=True))
    op.create_index(op.f('ix_rounds_reference_digest'), 'rounds', ['reference_digest'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_rounds_reference_digest'), table_name='rounds')
    op.drop_column('rounds', 'reference_digest')
    op.drop_column('jobs', 'base_sha256')
