"""Measure rounds after they closed: when that was done"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('rounds', schema=None) as batch_op:
        batch_op.add_column(sa.Column('measured_at', sa.Double(), nullable=True))

    # until now a round was measured while it closed
    op.execute("""UPDATE rounds SET measured_at = closed_at
                  WHERE state = 'closed' AND CAST(metrics AS VARCHAR(10)) <> '{}'""")


def downgrade() -> None:
    with op.batch_alter_table('rounds', schema=None) as batch_op:
        batch_op.drop_column('measured_at')
