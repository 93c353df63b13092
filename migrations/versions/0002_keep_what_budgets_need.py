"""Keep what budgets need: the forecast upload of each round, uploads that came to nothing"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('forecast_up', sa.JSON(none_as_null=True), nullable=True))

    with op.batch_alter_table('assignments', schema=None) as batch_op:
        batch_op.add_column(
            sa.Column('bytes_up_lost', sa.BigInteger(), server_default='0', nullable=False)
        )


def downgrade() -> None:
    with op.batch_alter_table('assignments', schema=None) as batch_op:
        batch_op.drop_column('bytes_up_lost')

    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.drop_column('forecast_up')
