"""Keep running totals: what the figures of deleted jobs were, and how many leases expired"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('totals',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('value', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_totals'))
    )


def downgrade() -> None:
    op.drop_table('totals')
