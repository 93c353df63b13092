"""Note in which round an update is counted: buffered rounds take those of earlier ones"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("assignments", schema=None) as batch_op:
        batch_op.add_column(sa.Column("counted_in", sa.Integer(), nullable=True))
        batch_op.create_index(
            batch_op.f("ix_assignments_job_id_counted_in"), ["job_id", "counted_in"], unique=False
        )
    # until now every update was counted in the round that its client began with
    op.execute("UPDATE assignments SET counted_in = number WHERE state = 'done'")


def downgrade() -> None:
    with op.batch_alter_table("assignments", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_assignments_job_id_counted_in"))
        batch_op.drop_column("counted_in")
