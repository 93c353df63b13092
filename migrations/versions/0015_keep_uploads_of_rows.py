"""Keep uploads of rows: which project has which, under the digest of its blob"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('uploads',
    sa.Column('source', sa.String(length=100), nullable=False),
    sa.Column('project', sa.String(length=64), nullable=False),
    sa.Column('digest', sa.String(length=64), nullable=False),
    sa.Column('name', sa.String(length=200), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('rows', sa.Integer(), nullable=False),
    sa.Column('columns', sa.JSON(), nullable=False),
    sa.Column('user', sa.String(length=64), nullable=True),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.ForeignKeyConstraint(['project'], ['projects.name'], name=op.f('fk_uploads_project_projects')),
    sa.PrimaryKeyConstraint('source', 'project', name=op.f('pk_uploads'))
    )
    op.create_index(op.f('ix_uploads_digest'), 'uploads', ['digest'], unique=False)
    op.create_index(op.f('ix_uploads_project'), 'uploads', ['project'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_uploads_project'), table_name='uploads')
    op.drop_index(op.f('ix_uploads_digest'), table_name='uploads')
    op.drop_table('uploads')
