"""Enrol external clients: invitations, clients with keys of their own"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('invitations',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.Column('project', sa.String(length=64), nullable=False),
    sa.Column('labels', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('created_by', sa.String(length=64), nullable=True),
    sa.Column('expires_at', sa.Double(), nullable=False),
    sa.Column('used_at', sa.Double(), nullable=True),
    sa.Column('client', sa.String(length=32), nullable=True),
    sa.Column('revoked_at', sa.Double(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_invitations'))
    )
    with op.batch_alter_table('invitations', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_invitations_project_created_at'), ['project', 'created_at'], unique=False)

    op.create_table('externals',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('project', sa.String(length=64), nullable=False),
    sa.Column('labels', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('invitation', sa.String(length=32), nullable=False),
    sa.Column('heartbeat_at', sa.Double(), nullable=True),
    sa.Column('version', sa.String(length=64), nullable=True),
    sa.Column('hardware', sa.JSON(), nullable=False),
    sa.Column('revoked_at', sa.Double(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_externals'))
    )
    with op.batch_alter_table('externals', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_externals_project_name'), ['project', 'name'], unique=True)

    op.add_column('keys', sa.Column('client', sa.String(length=32), nullable=True))
    op.create_index(op.f('ix_keys_client'), 'keys', ['client'], unique=False)


def downgrade() -> None:
    # a key that no service of before knows would be taken for a user's
    op.execute("DELETE FROM keys WHERE role = 'client'")
    op.drop_index(op.f('ix_keys_client'), table_name='keys')
    op.drop_column('keys', 'client')

    with op.batch_alter_table('externals', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_externals_project_name'))
    op.drop_table('externals')

    with op.batch_alter_table('invitations', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_invitations_project_created_at'))
    op.drop_table('invitations')
